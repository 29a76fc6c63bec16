"""How far long work is, on stderr: a bar in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any

from effsearch.messages import say
from searchspace.errors import UserError, short

SECONDS_VARIABLE = "EFFSEARCH_PROGRESS_SECONDS"  # least time between two lines
_PAUSE_S = 10.0
_LINES = 100  # of the whole work, about: a training of days must not fill its log


def least_pause(otherwise: float) -> float:
    """Return the least seconds between two lines: the variable's, or some other.

    Raises:
        UserError: the variable is no number.
    """
    given = os.environ.get(SECONDS_VARIABLE)
    try:
        return float(given or otherwise)
    except ValueError:
        raise UserError(
            f"the environment's {SECONDS_VARIABLE} is {short(given)}; it must be a number of "
            "seconds"
        ) from None


def duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Meter:
    """Shows how much of some work is done and how long the rest takes.

    Args:
        shown: whether anything is shown; the time left is known in any case.
    """

    def __init__(self, shown: bool = True) -> None:
        self._shown = shown
        self._bar: Any = None
        self._task: Any = None
        self._total, self._first = 1.0, 0.0
        self._begun = self._last = time.perf_counter()

    def start(self, total: float, done: float = 0.0) -> None:
        """Begin, with what was done before; any unit will do."""
        self._total, self._first = total, done
        self._begun = self._last = time.perf_counter()
        if self._shown and sys.stderr.isatty() and self._bar is None:
            self._bar, self._task = _bar(total, done)

    def left(self, done: float) -> str:
        """Return how long the rest takes at the speed so far; empty where that is not known."""
        seconds = self._left_s(done)
        return f"about {duration(seconds)} left" if seconds > 0 else ""

    def update(self, done: float, text: str) -> None:
        """Tell how much is done, and in words what is."""
        if self._bar is not None:
            self._bar.update(self._task, total=self._total, completed=done, description=text)
        elif self._shown:
            now = time.perf_counter()
            whole = now - self._begun + self._left_s(done)
            if now - self._last >= least_pause(max(_PAUSE_S, whole / _LINES)):
                self._last = now
                say(", ".join(filter(None, (text, self.left(done)))))

    def _left_s(self, done: float) -> float:
        if done <= self._first:
            return 0.0
        rate = (done - self._first) / max(1e-9, time.perf_counter() - self._begun)
        return (self._total - done) / rate

    def __enter__(self) -> Meter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _bar(total: float, done: float) -> tuple[Any, Any]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bar = Progress(
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %  {task.description}"),
        TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )
    bar.start()
    task = bar.add_task("", total=total)
    bar.update(task, completed=done)
    return bar, task
