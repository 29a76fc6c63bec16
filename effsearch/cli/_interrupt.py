"""`Stop`: what Ctrl-C means while long work runs that keeps what is done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Any

from effsearch.cli import INTERRUPTED, say

_PATIENCE_S = 1.0  # work that listens asks twice a second
_SHOW_CURSOR = b"\x1b[?25h"
_HAS_ALARM = hasattr(signal, "setitimer")  # not on Windows


class Stop:
    """Whether a person asked to end: the first Ctrl-C asks, the second one ends at once.

    Work calls this to learn of it and ends by itself. Work that does not call within a second of
    the first Ctrl-C is interrupted where it is, once Python has the word.

    Args:
        going_on: how to continue, said at the end.

    Attributes:
        asked: whether there was a Ctrl-C.
        forced: whether work was interrupted; it may then end with any error.
    """

    def __init__(self, going_on: str) -> None:
        self.asked = self.forced = False
        self._going_on = going_on
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
                say(f"ended at once; {self._going_on}")
                if sys.stderr.isatty():
                    os.write(sys.stderr.fileno(), _SHOW_CURSOR)  # a bar hides it
                for worker in multiprocessing.active_children():
                    worker.kill()
            finally:
                os._exit(INTERRUPTED)  # closing pools and clusters takes seconds
        self.asked = True
        _alarm(_PATIENCE_S)
        say("\nstopping; what is evaluated is kept (Ctrl-C again ends at once)")

    def _force(self, number: int, frame: FrameType | None) -> None:
        self.forced = True
        raise KeyboardInterrupt


def _alarm(seconds: float) -> None:
    if _HAS_ALARM:
        signal.setitimer(signal.ITIMER_REAL, seconds)
