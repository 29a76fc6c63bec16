"""Candidates evaluated on a Ray cluster, whose nodes may come and go."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any

from effsearch.errors import WorkFailedError
from effsearch.search.candidates import Outcome
from effsearch.search.evaluation import EvaluatorSpec
from effsearch.search.executors import LOOK_UP_S, RAY_WAIT_S, Arrivals, parcels
from effsearch.search.processes import one_thread
from searchspace import Architecture, UserError
from searchspace.errors import first_line

_REACH_S = 10
_TRIES = 3  # of a candidate whose worker died


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
        reach(address)
    owner = not ray.is_initialized()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is not None:
            ray.init(address=address, ignore_reinit_error=True, **options)
        elif owner:
            ray.init(num_cpus=cpus, include_dashboard=False, **options)
    except (
        ConnectionError,
        ValueError,
        RuntimeError,
        TimeoutError,
        ray.exceptions.RayError,
    ) as error:
        reason = first_line(error)
        if "token" in str(error).lower() or "authenticat" in str(error).lower():
            raise UserError(
                f"--ray-address: the Ray cluster at {address!r} wants a token ({reason}); "
                "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
            ) from None
        raise UserError(f"--ray-address: no Ray cluster at {address!r} ({reason})") from None
    return ray, owner


def reach(address: str) -> None:
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

    What a worker that died was at goes to the others; a candidate that takes three workers with it
    is recorded as failed. The nodes need the same version of this package, and tables that are
    files at the same paths.
    """

    def __init__(
        self,
        spec: EvaluatorSpec,
        workers: int,
        address: str | None = None,
        wait_s: float = RAY_WAIT_S,
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        """Connect to a cluster, or start one on this machine.

        Args:
            spec: what workers make their evaluators from.
            workers: actors wanted; fewer where the cluster has fewer free CPUs.
            address: of the cluster; None starts one here.
            wait_s: how long to wait for the first free CPU.
            say: told where the cluster has fewer.

        Raises:
            UserError: where there is no cluster at the address.
            WorkFailedError: where it has no free CPU.
        """
        self._ray, self._owner = connect_ray(address, workers)
        self._actors: list[Any] = []
        try:
            workers = _free_workers(self._ray, workers, wait_s, say)
        except WorkFailedError:
            self.close()
            raise
        actor = self._ray.remote(num_cpus=1)(_RayWorker)
        self._actors = [actor.remote(spec) for _ in range(workers)]

    def start(self, architectures: Sequence[Architecture]) -> Arrivals:
        """See `Executor`."""
        parts = parcels(architectures, len(self._actors))
        return self._arrive(parts, [self._send(i, part) for i, part in enumerate(parts)])

    def _send(self, number: int, part: Sequence[Architecture]) -> tuple[Any, Any]:
        if not self._actors:
            raise WorkFailedError("all Ray workers died; continue with --resume")
        actor = self._actors[number % len(self._actors)]
        return actor, actor.evaluate.remote(part)

    def _arrive(
        self, parts: Sequence[Sequence[Architecture]], sent: list[tuple[Any, Any]]
    ) -> Arrivals:
        errors = self._ray.exceptions
        for number, part in enumerate(parts):
            tries = 1
            while True:
                actor, reference = sent[number]
                try:
                    yield self._ray.get(reference, timeout=LOOK_UP_S)
                    break
                except errors.GetTimeoutError:
                    yield []
                except errors.RayTaskError as error:
                    raise WorkFailedError(f"a Ray worker failed: {first_line(error)}") from None
                except errors.RayError as error:  # its process or its node died
                    self._actors = [a for a in self._actors if a is not actor]
                    if tries == _TRIES and self._actors:
                        yield [Outcome(error=f"its Ray worker died: {first_line(error)}")] * len(
                            part
                        )
                        break
                    tries += 1
                    sent[number] = self._send(number, part)

    def close(self) -> None:
        """Stop the actors, and Ray where it was started here."""
        for actor in self._actors:
            self._ray.kill(actor)
        if self._owner:
            self._ray.shutdown()


def _free_workers(ray: Any, wanted: int, wait_s: float, say: Callable[[str], None]) -> int:
    """Return for how many of the workers the cluster has free CPUs, waiting for the first.

    Raises:
        WorkFailedError: where none gets free in time.
    """
    until = time.monotonic() + wait_s
    while (free := int(ray.available_resources().get("CPU", 0))) < 1:
        if time.monotonic() >= until:
            raise WorkFailedError(
                f"--engine ray: {wanted} workers are asked for, and the cluster had no free CPU "
                f"for {wait_s:g} s; stop what runs there, or wait longer with --ray-wait"
            )
        time.sleep(min(1.0, max(0.0, until - time.monotonic())))
    if free < wanted:
        say(f"{wanted} workers are asked for, and the cluster has {free} free CPUs: {free} work")
    return min(wanted, free)
