"""`Helpers`: processes that share the work on a run's winners."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from effsearch.errors import WorkFailedError
from effsearch.search.processes import prepare, process_pool, stop_now

T = TypeVar("T")


_MODULES = ("effsearch.accuracy.second_opinion", "effsearch.run.winner_folder")


class Helpers:
    """Calls functions in other processes; what these import is imported while this one is busy.

    Args:
        count: of processes; with one, all is done in this.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None
        if count > 1:
            prepare(_MODULES)

    def map(self, function: Callable[..., T], *arguments: Sequence[Any]) -> list[T]:
        """Return what a function gives for each of some arguments, in their order.

        Raises:
            WorkFailedError: where a process died.
        """
        if self._count <= 1:
            return list(map(function, *arguments))
        if self._pool is None:
            self._pool = process_pool(self._count, __name__, _import)
        try:
            return list(self._pool.map(function, *arguments))
        except (BrokenProcessPool, EOFError):
            raise WorkFailedError(
                "a process that checks winners died (out of memory?); try --workers 1"
            ) from None

    def close(self) -> None:
        """Stop them, at once."""
        if self._pool is not None:
            stop_now(self._pool)


def _import() -> None:
    """Import what they will need, where the server has not."""
    for module in _MODULES:
        importlib.import_module(module)
