"""Where candidates are evaluated: here, or in processes of this machine; Ray has its own module."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from typing import Protocol

from effsearch.errors import WorkFailedError
from effsearch.search.candidates import Outcome
from effsearch.search.evaluation import Evaluator, EvaluatorSpec, Scorer
from effsearch.search.processes import process_pool, stop_now
from searchspace import Architecture

_LARGEST_PART = 4  # candidates in one parcel of work; what a stop may lose of each worker
LOOK_UP_S = 0.5
RAY_WAIT_S = 30.0

# Outcomes in order, a few at a time; now and then none, so that the caller can look up.
Arrivals = Iterator[list[Outcome]]


class Executor(Protocol):
    """Evaluates architectures, in parallel or not; the outcomes are the same.

    Workers of slow scores give outcomes without latency (`PricingExecutor` adds it).
    """

    def start(self, architectures: Sequence[Architecture]) -> Arrivals:
        """Begin to evaluate; the returned iterator gives outcomes in order as they arrive.

        It gives an empty list where none came for half a second, and raises `WorkFailedError` where
        workers died. What is started later is evaluated later; the iterators are read in the same
        order.
        """
        ...

    def close(self) -> None:
        """Stop the workers, at once; what they are at is lost."""
        ...


class SerialExecutor:
    """Evaluates in this process, when the outcomes are asked for."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator

    def start(self, architectures: Sequence[Architecture]) -> Arrivals:
        """See `Executor`."""
        for architecture in architectures:
            yield self.evaluator([architecture])

    def close(self) -> None:
        """Nothing to stop."""


_worker: Evaluator | Scorer | None = None


def _start_worker(spec: EvaluatorSpec) -> None:
    global _worker
    _worker = spec.make_worker()


def _evaluate(architectures: Sequence[Architecture]) -> list[Outcome]:
    assert _worker is not None
    return _worker(architectures)


class LocalExecutor:
    """Evaluates in processes of this machine."""

    def __init__(self, spec: EvaluatorSpec, workers: int) -> None:
        self.workers = workers
        self._slow = spec.slow
        self._pool = process_pool(workers, __name__, _start_worker, (spec,))
        self._futures: list[Future[list[Outcome]]] = []

    def start(self, architectures: Sequence[Architecture]) -> Arrivals:
        """See `Executor`."""
        try:
            parts = parcels(architectures, self.workers, self._slow)
            futures = [self._pool.submit(_evaluate, part) for part in parts]
        except (BrokenProcessPool, EOFError, OSError):  # the last two of a fork server that died
            raise WorkFailedError(_DIED) from None
        self._futures = [f for f in self._futures if not f.done()] + futures
        return self._arrive(futures)

    def _arrive(self, futures: Sequence[Future[list[Outcome]]]) -> Arrivals:
        for future in futures:
            while not future.done():
                wait([future], timeout=LOOK_UP_S)
                if not future.done():
                    yield []
            try:
                yield future.result()
            except BrokenProcessPool:
                raise WorkFailedError(_DIED) from None

    def close(self) -> None:
        """See `Executor`."""
        if all(future.done() for future in self._futures):
            self._pool.shutdown()
        else:
            stop_now(self._pool)


_DIED = "a worker process died (out of memory?); try fewer --workers"


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parcels(
    items: Sequence[Architecture], workers: int, slow: bool = False
) -> list[Sequence[Architecture]]:
    """Return contiguous parts, small enough that workers finish together and little is lost.

    Args:
        items: what is to be evaluated.
        workers: among whom.
        slow: whether each takes so long that it is a part of its own.
    """
    return chunks(items, max(4 * workers, -(-len(items) // (1 if slow else _LARGEST_PART))))


def chunks(items: Sequence[Architecture], count: int) -> list[Sequence[Architecture]]:
    """Return up to `count` contiguous parts of nearly equal length, none empty."""
    count = min(count, len(items))
    edges = [round(i * len(items) / count) for i in range(count + 1)] if count else []
    return [items[a:b] for a, b in pairwise(edges)]
