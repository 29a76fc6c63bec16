"""Progress of trainings as lines of text, with the time that is left at most."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

from effsearch.progress import duration, least_pause
from effsearch.refine.journal import Entry


class RefineProgress:
    """Says a line after an epoch, not too often, and always when a training ends.

    Args:
        names: what each network is called, by digest.
        macs: its multiply-accumulates, which epochs of networks not yet begun are estimated by.
        epochs: of a whole training.
        done: epochs of each that are done already.
        ended: networks whose training is at its end already.
        concurrent: trainings at a time.
        say: takes lines.
        metric: what is in % after an epoch.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        macs: Mapping[str, int],
        epochs: int,
        done: Mapping[str, int],
        ended: set[str],
        concurrent: int,
        say: Callable[[str], None],
        metric: str = "top-1",
    ) -> None:
        self._names, self._macs, self._epochs = names, macs, epochs
        self._done, self._ended = dict(done), set(ended)
        self._concurrent, self._say, self._metric = concurrent, say, metric
        self._seconds: dict[str, list[float]] = {}
        self._pause = least_pause(2.0)
        self._last = 0.0

    def __call__(self, entry: Entry, ends: bool) -> None:
        """Take a result; `ends` says whether the training ends with it."""
        name = self._names[entry.digest]
        if ends:
            self._ended.add(entry.digest)
        if entry.failed:
            self._say(f"{name} failed: {entry.failed}; the others go on")
            return
        self._done[entry.digest] = entry.epoch
        self._seconds.setdefault(entry.digest, []).append(entry.seconds)
        now = time.perf_counter()
        if not ends and now - self._last < self._pause:
            return
        self._last = now
        how = ""
        if ends:
            how = ", done" if entry.epoch >= self._epochs else ", stopped by ASHA"
        self._say(
            f"trained {len(self._ended)}/{len(self._names)}  {name}: epoch {entry.epoch}/"
            f"{self._epochs}, {self._metric} {entry.value:.2f} %{how}; {self._left()}"
        )

    def left_s(self) -> float | None:
        """Return the seconds left where nothing more is stopped early; None before any epoch."""
        rates = [
            statistics.median(seconds) / self._macs[digest]
            for digest, seconds in self._seconds.items()
        ]
        if not rates:
            return None
        typical = statistics.median(rates)
        total = 0.0
        for digest in self._names:
            if digest in self._ended:
                continue
            seconds = self._seconds.get(digest)
            each = statistics.median(seconds) if seconds else typical * self._macs[digest]
            total += each * (self._epochs - self._done.get(digest, 0))
        return total / self._concurrent

    def _left(self) -> str:
        if len(self._ended) == len(self._names):
            return "nothing left"
        seconds = self.left_s() or 0.0
        return f"at most {duration(seconds)} left"
