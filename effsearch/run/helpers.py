"""`Helpers`: processes that share the work on a run's winners, ready when these are found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from effsearch.errors import WorkFailedError
from effsearch.search.processes import process_pool, stop_now

T = TypeVar("T")


class Helpers:
    """Calls functions in other processes, which start while this one is busy.

    Args:
        count: of processes; with one, all is done in this.
    """

    def __init__(self, count: int) -> None:
        self._pool = process_pool(count, __name__, _import) if count > 1 else None
        if self._pool is not None:
            for _ in range(count):
                self._pool.submit(_import)

    def map(self, function: Callable[..., T], *arguments: Sequence[Any]) -> list[T]:
        """Return what a function gives for each of some arguments, in their order.

        Raises:
            WorkFailedError: where a process died.
        """
        if self._pool is None:
            return list(map(function, *arguments))
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
    """Import what they will need, which takes seconds."""
    import effsearch.accuracy.second_opinion
    import effsearch.run.winner_folder  # noqa: F401
