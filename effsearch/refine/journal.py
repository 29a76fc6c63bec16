"""`Journal`: what trainings reported, in the order in which it was decided on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from effsearch.files import LineLog, atomic_write_text
from effsearch.json_text import parse_json

FILE = "results.jsonl"


@dataclass(frozen=True)
class Entry:
    """One line: an epoch that was evaluated, or why a training failed.

    Attributes:
        digest: of the network.
        epoch: epochs done.
        value: the task's metric, in %.
        seconds: wall time of the epoch.
        device: what it ran on.
        failed: why the training failed; empty for an epoch.
        final: whether trying again would fail again.
        std: the metric's standard error, where it does not follow from it and the images' number.
    """

    digest: str
    epoch: int = 0
    value: float = 0.0
    seconds: float = 0.0
    device: str = ""
    failed: str = ""
    final: bool = False
    std: float | None = None


@dataclass
class Journal:
    """The results of trainings as lines of a file, each on disk before a decision rests on it.

    Attributes:
        path: the file.
        entries: the lines, in order.
        key: what lines call the metric (`Task.key`).
    """

    path: Path
    entries: list[Entry] = field(default_factory=list)
    key: str = "top1"

    @classmethod
    def open(
        cls,
        path: Path,
        keep: Callable[[Entry], bool] = lambda entry: True,
        key: str = "top1",
    ) -> Journal:
        """Read what there is; a last line that a kill cut off is dropped.

        Args:
            path: the file, which need not exist.
            keep: lines for which it says no are dropped for good.
            key: what lines call the metric.
        """
        entries: list[Entry] = []
        for line in LineLog(path).read():
            try:
                body = parse_json(line)
                entries.append(Entry(value=body.pop(key, 0.0), **body))
            except (ValueError, TypeError, AttributeError):
                break
        journal = cls(path, [entry for entry in entries if keep(entry)], key)
        journal._rewrite()
        return journal

    def add(self, entry: Entry) -> None:
        """Append a line; it is on disk when this returns."""
        LineLog(self.path).append(self._line(entry))
        self.entries.append(entry)

    def curve(self, digest: str) -> list[tuple[int, float]]:
        """Return (epochs done, metric in %) of a network."""
        return [(e.epoch, e.value) for e in self.entries if e.digest == digest and not e.failed]

    def epochs(self, digest: str) -> int:
        """Return how many epochs of a network are in."""
        return max((epoch for epoch, _ in self.curve(digest)), default=0)

    def _rewrite(self) -> None:
        atomic_write_text(self.path, "".join(f"{self._line(entry)}\n" for entry in self.entries))

    def _line(self, entry: Entry) -> str:
        body: dict[str, Any] = {
            self.key if field.name == "value" else field.name: getattr(entry, field.name)
            for field in fields(entry)
            if getattr(entry, field.name) != field.default
        }
        return json.dumps(body)
