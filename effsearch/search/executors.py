"""Where candidates are evaluated: here, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import pairwise
from typing import Any, Protocol

from effsearch.errors import WorkFailedError
from effsearch.search.candidates import Outcome
from effsearch.search.evaluation import Evaluator, EvaluatorSpec
from searchspace import Architecture, UserError

ENGINES = ("local", "ray")
_REACH_S = 10
_CHUNKS = 4  # parts of a batch for each worker, so that they finish together

Gather = Callable[[], list[Outcome]]


class Executor(Protocol):
    """Evaluates architectures, in parallel or not; the outcomes are the same."""

    def start(self, architectures: Sequence[Architecture]) -> Gather:
        """Begin to evaluate; the returned function waits and returns outcomes in order.

        It raises `WorkFailedError` where workers died.
        """
        ...

    def close(self) -> None:
        """Stop the workers."""
        ...


class SerialExecutor:
    """Evaluates in this process, when the outcomes are asked for."""

    def __init__(self, evaluator: Evaluator) -> None:
        self.evaluator = evaluator

    def start(self, architectures: Sequence[Architecture]) -> Gather:
        """See `Executor`."""
        return lambda: self.evaluator(architectures)

    def close(self) -> None:
        """Nothing to stop."""


_worker: Evaluator | None = None


def _start_worker(spec: EvaluatorSpec, parent: int) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to handle
    threading.Thread(target=_die_with, args=(parent,), daemon=True).start()
    one_thread()
    _worker = spec.make()


def _die_with(parent: int) -> None:
    """End this process when its parent was killed; nothing else would end it."""
    while _alive(parent):
        time.sleep(1)
    os._exit(1)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def one_thread() -> None:
    """Keep torch to one thread in this process: parallel work here is many small networks."""
    import torch

    torch.set_num_threads(1)


def _evaluate(architectures: Sequence[Architecture]) -> list[Outcome]:
    assert _worker is not None
    return _worker(architectures)


class LocalExecutor:
    """Evaluates in processes of this machine."""

    def __init__(self, spec: EvaluatorSpec, workers: int) -> None:
        # Forked from a clean server where that exists: forking a process with threads may hang.
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        if context.get_start_method() == "forkserver":
            context.set_forkserver_preload(["effsearch.search.executors"])
        self.workers = workers
        self._pool = ProcessPoolExecutor(
            workers, context, initializer=_start_worker, initargs=(spec, os.getpid())
        )

    def start(self, architectures: Sequence[Architecture]) -> Gather:
        """See `Executor`."""
        try:
            futures = [
                self._pool.submit(_evaluate, part)
                for part in chunks(architectures, self.workers * _CHUNKS)
            ]
        except BrokenProcessPool:
            raise WorkFailedError(_DIED) from None

        def gather() -> list[Outcome]:
            try:
                return [outcome for future in futures for outcome in future.result()]
            except BrokenProcessPool:
                raise WorkFailedError(_DIED) from None

        return gather

    def close(self) -> None:
        """Stop the workers."""
        self._pool.shutdown(wait=True, cancel_futures=True)


_DIED = "a worker process died (out of memory?); try fewer --workers"


def connect_ray(address: str | None, cpus: int) -> tuple[Any, bool]:
    """Connect to a Ray cluster, or start one on this machine.

    Args:
        address: of the cluster; None starts one here.
        cpus: cores that one here may use.

    Returns:
        The module `ray`, and whether the connection is new and so the caller's to shut down.

    Raises:
        UserError: where there is no cluster at the address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Workers are as nice as this process; Ray's own 15 starves them on a busy machine.
    os.environ.setdefault("RAY_worker_niceness", "0")
    import ray

    if address is not None:
        _reach(address)
    owner = not ray.is_initialized()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is not None:
            ray.init(address=address, ignore_reinit_error=True, **options)
        elif owner:
            ray.init(num_cpus=cpus, include_dashboard=False, **options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f"--ray-address: no Ray cluster at {address!r} ({reason})") from None
    return ray, owner


def _reach(address: str) -> None:
    """Check that something listens at a cluster's port; Ray itself would wait for minutes.

    Raises:
        UserError: where nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # a name such as `auto`, which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--ray-address: no Ray cluster at {address!r} ({error})") from None


class _RayWorker:
    """A Ray actor: keeps its evaluator, and with it the caches."""

    def __init__(self, spec: EvaluatorSpec) -> None:
        one_thread()
        self._evaluator = spec.make()

    def evaluate(self, architectures: Sequence[Architecture]) -> list[Outcome]:
        return self._evaluator(architectures)


class RayExecutor:
    """Evaluates on a Ray cluster, one actor a worker.

    The nodes need the same version of this package, and tables that are files at the same paths.
    """

    def __init__(self, spec: EvaluatorSpec, workers: int, address: str | None = None) -> None:
        """Connect to a cluster, or start one on this machine.

        Raises:
            UserError: where there is no cluster at the address.
        """
        self._ray, self._owner = connect_ray(address, workers)
        actor = self._ray.remote(num_cpus=1)(_RayWorker)
        self._actors: list[Any] = [actor.remote(spec) for _ in range(workers)]

    def start(self, architectures: Sequence[Architecture]) -> Gather:
        """See `Executor`."""
        parts = chunks(architectures, len(self._actors) * _CHUNKS)
        references = [
            self._actors[i % len(self._actors)].evaluate.remote(part)
            for i, part in enumerate(parts)
        ]

        def gather() -> list[Outcome]:
            try:
                return [outcome for found in self._ray.get(references) for outcome in found]
            except self._ray.exceptions.RayError as error:
                reason = str(error).strip().splitlines()[-1][:200]
                raise WorkFailedError(f"a Ray worker failed: {reason}") from None

        return gather

    def close(self) -> None:
        """Stop the actors, and Ray where it was started here."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._owner:
            self._ray.shutdown()


def make_executor(
    engine: str, spec: EvaluatorSpec, evaluator: Evaluator, workers: int, address: str | None = None
) -> Executor:
    """Return an executor.

    Args:
        engine: one of `ENGINES`.
        spec: what workers make their evaluators from.
        evaluator: this process's own, which serves where one local worker is asked for.
        workers: processes or actors.
        address: of a Ray cluster; None starts one here.

    Raises:
        UserError: where the engine is unknown, workers are fewer than 1, or there is no cluster.
    """
    if engine not in ENGINES:
        raise UserError(f"--engine: {engine!r} is unknown; use one of {', '.join(ENGINES)}")
    if workers < 1:
        raise UserError(f"--workers: {workers} is not an integer of 1 or more")
    if address is not None and engine != "ray":
        raise UserError("--ray-address: needs --engine ray")
    if engine == "ray":
        return RayExecutor(spec, workers, address)
    if workers == 1:
        return SerialExecutor(evaluator)
    return LocalExecutor(spec, workers)


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def chunks(items: Sequence[Architecture], count: int) -> list[Sequence[Architecture]]:
    """Return up to `count` contiguous parts of nearly equal length, none empty."""
    count = min(count, len(items))
    edges = [round(i * len(items) / count) for i in range(count + 1)] if count else []
    return [items[a:b] for a, b in pairwise(edges)]
