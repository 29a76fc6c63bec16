"""Progress of a search: a bar in a terminal, lines elsewhere, always on stderr."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol

from effsearch.messages import say
from effsearch.progress import duration, least_pause
from effsearch.search.candidates import Record

_PAUSE_S = 2.0


class Progress(Protocol):
    """Is told of candidates after they are stored."""

    def start(self, done: int, total: int, records: Sequence[Record]) -> None:
        """Begin, with what an earlier run of the same study had done."""
        ...

    def advance(self, done: int, records: Sequence[Record]) -> None:
        """Tell how many candidates are stored, and what is known of them."""
        ...

    def consider(self, done: int, best: float) -> None:
        """So many networks were considered, and the best score's lower bound is this."""
        ...

    def close(self) -> None:
        """End."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, done: int, total: int, records: Sequence[Record]) -> None:
        """See `Progress`."""

    def advance(self, done: int, records: Sequence[Record]) -> None:
        """See `Progress`."""

    def consider(self, done: int, best: float) -> None:
        """See `Progress`."""

    def close(self) -> None:
        """See `Progress`."""


class Lines:
    """Writes a line now and then."""

    def __init__(self) -> None:
        self._pause = least_pause(_PAUSE_S)
        self._best: Record | None = None
        self._looked_at = 0
        self._total = 0
        self._first = 0
        self._begin = self._last = 0.0
        self._heard: tuple[int, float] | None = None

    def start(self, done: int, total: int, records: Sequence[Record]) -> None:
        """See `Progress`."""
        self._first, self._total = done, total
        self._begin = time.perf_counter()
        if done:
            say(f"resuming after {done} candidates")

    def advance(self, done: int, records: Sequence[Record]) -> None:
        """See `Progress`."""
        now = time.perf_counter()
        text = self._text(done, records)
        if done >= self._total or now - self._last >= self._pause:
            self._last = now
            say(f"{done}/{self._total} candidates  {text}{self._left(done)}")

    def consider(self, done: int, best: float) -> None:
        """See `Progress`."""
        now = time.perf_counter()
        if done >= self._total or now - self._last >= self._pause:
            self._last = now
            text = self._considered(done, best)
            say(f"{done}/{self._total} networks  {text}{self._left(done)}")

    def close(self) -> None:
        """See `Progress`."""

    def _left(self, done: int) -> str:
        # Since the first word: what comes before is made ready once.
        now = time.perf_counter()
        first, since = self._heard = self._heard or (done, now)
        if not first < done < self._total:
            return ""
        seconds = (self._total - done) * (now - since) / (done - first)
        return f", about {duration(seconds)} left"

    def _considered(self, done: int, best: float) -> str:
        seconds = max(1e-9, time.perf_counter() - self._begin)
        if not math.isfinite(best):
            return f"{done / seconds:.0f}/s  {describe_best(None)}"
        return f"{done / seconds:.0f}/s  best lower bound {best:.2f}"

    def _text(self, done: int, records: Sequence[Record]) -> str:
        for record in records[self._looked_at :]:
            better = self._best is None or (
                record.outcome.lower_bound > self._best.outcome.lower_bound
            )
            if record.feasible and not record.candidate.reference and better:
                self._best = record
        self._looked_at = len(records)
        seconds = max(1e-9, time.perf_counter() - self._begin)
        rate = (done - self._first) / seconds
        return f"{rate:.0f}/s  {describe_best(self._best)}"


class Bar(Lines):
    """Draws a bar that stays in place."""

    def __init__(self) -> None:
        super().__init__()
        self._bar: Any = None
        self._task: Any = None

    def start(self, done: int, total: int, records: Sequence[Record]) -> None:
        """See `Progress`."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        super().start(done, total, records)
        self._bar = RichProgress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("candidates  {task.description}"),
            TimeRemainingColumn(compact=True),
            console=Console(stderr=True),
        )
        self._bar.start()
        self._task = self._bar.add_task("", total=total, completed=done)

    def advance(self, done: int, records: Sequence[Record]) -> None:
        """See `Progress`."""
        self._bar.update(self._task, completed=done, description=self._text(done, records))

    def consider(self, done: int, best: float) -> None:
        """See `Progress`."""
        self._bar.update(self._task, completed=done, description=self._considered(done, best))

    def close(self) -> None:
        """See `Progress`."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def make_progress() -> Progress:
    """Return a bar where stderr is a terminal, else lines."""
    return Bar() if sys.stderr.isatty() else Lines()


def describe_best(best: Record | None) -> str:
    """Return a few words on the best candidate so far."""
    if best is None:
        return "none within the budget yet"
    outcome = best.outcome
    number = f"{outcome.score:.2f} ± {outcome.score_std:.2f}"
    return f"best {number} at {outcome.mean_ms:.3f} ms"
