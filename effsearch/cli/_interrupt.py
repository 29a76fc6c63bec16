"""`Stop`: what Ctrl-C means while long work runs that keeps what is done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import typer

from effsearch.cli import INTERRUPTED, say

PATIENCE_S = 1.0  # work that listens asks twice a second
_SHOW_CURSOR = b"\x1b[?25h"
_HAS_ALARM = hasattr(signal, "setitimer")  # not on Windows


class Stop:
    """Whether a person asked to end: the first Ctrl-C asks, the second one ends at once.

    Work calls this to learn of it and ends by itself. Work that does not call in time after the
    first Ctrl-C is interrupted where it is, once Python has the word.

    Args:
        going_on: gives the words on how to continue, said at the end.
        kept: what is kept, said at the first Ctrl-C.
        patience_s: how long work may take until it asks.

    Attributes:
        asked: whether there was a Ctrl-C.
        forced: whether work was interrupted; it may then end with any error.
    """

    def __init__(
        self, going_on: Callable[[], str], kept: str, patience_s: float = PATIENCE_S
    ) -> None:
        self.asked = self.forced = False
        self._going_on, self._kept, self._patience_s = going_on, kept, patience_s
        self._previous: list[tuple[int, Any]] = []

    def __call__(self) -> bool:
        """Return whether to end."""
        if self.asked:
            _alarm(0)
        return self.asked

    def __enter__(self) -> Stop:
        handles = {signal.SIGINT: self._hear}
        if _HAS_ALARM:
            handles[signal.SIGALRM] = self._force
        self._previous = [(number, signal.signal(number, h)) for number, h in handles.items()]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _alarm(0)
        for number, handle in self._previous:
            signal.signal(number, handle)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            try:
                say(f"ended at once; {self._going_on()}")
                if sys.stderr.isatty():
                    os.write(sys.stderr.fileno(), _SHOW_CURSOR)  # a bar hides it
                for worker in multiprocessing.active_children():
                    worker.kill()
            finally:
                os._exit(INTERRUPTED)  # closing pools and clusters takes seconds
        self.asked = True
        _alarm(self._patience_s)
        say(f"\nstopping; {self._kept} (Ctrl-C again ends at once)")

    def _force(self, number: int, frame: FrameType | None) -> None:
        self.forced = True
        raise KeyboardInterrupt


@contextmanager
def stoppable(
    going_on: Callable[[], str],
    kept: str,
    ends: type[BaseException] | tuple[type[BaseException], ...] = (),
    patience_s: float = PATIENCE_S,
) -> Iterator[Stop]:
    """Let a person end the work inside by Ctrl-C, and say how it goes on; exit status 130.

    Args:
        going_on: see `Stop`.
        kept: see `Stop`.
        ends: what work that was asked to end may raise.
        patience_s: see `Stop`.
    """
    with Stop(going_on, kept, patience_s) as stop:
        try:
            yield stop
        except BaseException as error:
            if not stop.asked or not (stop.forced or isinstance(error, ends)):
                raise
            say(f"stopped; {going_on()}")
            raise typer.Exit(INTERRUPTED) from None


def _alarm(seconds: float) -> None:
    if _HAS_ALARM:
        signal.setitimer(signal.ITIMER_REAL, seconds)
