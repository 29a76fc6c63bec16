"""Candidates evaluated on a Ray cluster, whose nodes may come and go."""

from __future__ import annotations

import heapq
import os
import re
import socket
import subprocess
import sys
import time
from collections import Counter, defaultdict
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
_ANSWER_S = 30
_CONNECT = "import ray, sys; ray.init(address=sys.argv[1], logging_level='ERROR'); ray.shutdown()"
_TRIES = 3  # of a candidate whose worker died
# Parts that a worker has at most, so that it need not wait for this process; of slow ones as few as
# do, since what a worker has is not given to another that is idle.
_AHEAD = 4
_AHEAD_SLOW = 2


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
        raise _no_cluster(address, first_line(error)) from None
    return ray, owner


def check_cluster(address: str) -> None:
    """Check that a Ray cluster answers at an address and lets this person in.

    Another process connects first: Ray itself tries for many minutes where something else
    listens, and tells of tokens in its log alone.

    Raises:
        UserError: where none does.
    """
    reach(address)
    command = [sys.executable, "-c", _CONNECT, address]
    try:
        subprocess.run(command, capture_output=True, timeout=_ANSWER_S, check=True)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        said = (error.stderr or b"").decode("utf-8", "replace")
        if re.search(r"auth\w* ?token|unauthenticated", said, re.IGNORECASE):
            raise UserError(
                f"--ray-address: the Ray cluster at {address!r} wants a token, or another one; "
                "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN"
            ) from None
        reasons = re.findall(r"^[\w.]+(?:Error|Exception): (.+)$", said, re.MULTILINE)
        silent = f"what listens there gave no answer in {_ANSWER_S} s"
        raise _no_cluster(address, reasons[-1] if reasons else silent) from None


def reach(address: str) -> None:
    """Check that something listens at a cluster's port.

    Raises:
        UserError: where nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # a name such as `auto`, which Ray looks up
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str | None, reason: str) -> UserError:
    return UserError(f"--ray-address: no Ray cluster at {address!r} ({reason})")


class _RayWorker:
    """A Ray actor: keeps its evaluator, and with it the caches."""

    def __init__(self, spec: EvaluatorSpec) -> None:
        one_thread()
        self._evaluator = spec.make_worker()

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
        self._slow = spec.slow
        self._work = _Work()
        self._ray, self._owner = connect_ray(address, workers)
        self._actors: dict[int, Any] = {}
        try:
            workers = _free_workers(self._ray, workers, wait_s, say)
        except WorkFailedError:
            self.close()
            raise
        actor = self._ray.remote(num_cpus=1)(_RayWorker)
        self._actors = {number: actor.remote(spec) for number in range(workers)}

    def start(self, architectures: Sequence[Architecture]) -> Arrivals:
        """See `Executor`."""
        parts = self._work.add(parcels(architectures, len(self._actors), self._slow))
        self._send()
        return self._arrive(parts)

    def _send(self) -> None:
        """Give every worker its next parts.

        Raises:
            WorkFailedError: where no worker lives.
        """
        if not self._actors:
            raise WorkFailedError("all Ray workers died; continue with --resume")
        work = self._work
        for ahead in range(1, (_AHEAD_SLOW if self._slow else _AHEAD) + 1):
            for worker, actor in self._actors.items():
                sent = work.sent[worker]
                while work.waiting and len(sent) < ahead:
                    part = heapq.heappop(work.waiting)
                    sent[actor.evaluate.remote(work.parts[part])] = part

    def _arrive(self, parts: range) -> Arrivals:
        work = self._work
        for part in parts:
            while part not in work.done:
                self._send()
                workers = {reference: w for w, sent in work.sent.items() for reference in sent}
                for reference in self._ray.wait(list(workers), timeout=LOOK_UP_S)[0]:
                    self._take(workers[reference], reference)
                if part not in work.done:
                    yield []
            yield work.done.pop(part)

    def _take(self, worker: int, reference: Any) -> None:
        """Store what a worker has done; where it died, let the others have its parts.

        Raises:
            WorkFailedError: where the worker lives and could not do it.
        """
        errors, work = self._ray.exceptions, self._work
        try:
            outcomes = self._ray.get(reference)
        except errors.RayTaskError as error:
            raise WorkFailedError(f"a Ray worker failed: {first_line(error)}") from None
        except errors.RayError as error:  # its process or its node died
            self._actors.pop(worker, None)
            under_way, *rest = work.sent.pop(worker).values()
            work.tries[under_way] += 1
            if work.tries[under_way] < _TRIES:
                rest.append(under_way)
            else:
                failed = Outcome(error=f"its Ray worker died: {first_line(error)}")
                work.done[under_way] = [failed] * len(work.parts.pop(under_way))
            for part in rest:
                heapq.heappush(work.waiting, part)
        else:
            part = work.sent[worker].pop(reference)
            work.done[part] = outcomes
            del work.parts[part]

    def close(self) -> None:
        """Stop the actors, and Ray where it was started here."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        if self._owner:
            self._ray.shutdown()


class _Work:
    """Which parts of the work wait, are sent, and are done; by their numbers.

    Attributes:
        parts: those that are not done.
        waiting: a heap of those that no worker has.
        sent: of each worker, what it has by the reference to what will come of it; a worker does
            them in this order.
        done: what came, until it is asked for.
        tries: how many workers died at a part.
    """

    def __init__(self) -> None:
        self.parts: dict[int, Sequence[Architecture]] = {}
        self.waiting: list[int] = []
        self.sent: defaultdict[int, dict[Any, int]] = defaultdict(dict)
        self.done: dict[int, list[Outcome]] = {}
        self.tries: Counter[int] = Counter()
        self._next = 0

    def add(self, parts: Sequence[Sequence[Architecture]]) -> range:
        """Let parts wait for workers; returns their numbers."""
        numbers = range(self._next, self._next + len(parts))
        self._next = numbers.stop
        self.parts.update(zip(numbers, parts, strict=True))
        for number in numbers:
            heapq.heappush(self.waiting, number)
        return numbers


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
