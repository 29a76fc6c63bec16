"""Worker processes that train the networks of the evidence table, fed the longest first."""

from __future__ import annotations

import multiprocessing
import statistics
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from typing import Any

from results.accuracy.campaign_table import Row
from results.accuracy.campaign_worker import Task, WorkerConfig, worker_main

_ATTEMPTS_MAX = 2
_CAPTURE_FAILURES_MAX = 4
_GRACE_S = 20.0
_STATUS_EVERY_S = 20.0
_PLANNING_MARGIN = 1.2


class Planner:
    """Hands out tasks in order, but only such as should end before the deadline.

    Args:
        tasks: In the order in which they are wanted.
        deadline: As `time.time()`; infinite for none.
    """

    def __init__(self, tasks: Sequence[Task], deadline: float) -> None:
        self.waiting = list(tasks)
        self.deadline = deadline
        self._rates: deque[float] = deque(maxlen=64)

    def observe(self, work: float, seconds: float) -> None:
        """Learns how long some work took."""
        if work > 0:
            self._rates.append(seconds / work)

    def expected_s(self, task: Task) -> float:
        """Returns the expected seconds of a task; 0 before anything was observed."""
        return statistics.median(self._rates) * task.work if self._rates else 0.0

    def take(self, now: float) -> Task | None:
        """Returns the first task that fits into the time left, or None."""
        left = self.deadline - now
        if left <= 0:
            return None
        for index, task in enumerate(self.waiting):
            if self.expected_s(task) * _PLANNING_MARGIN <= left:
                return self.waiting.pop(index)
        return None

    def forbid_capture(self) -> None:
        """Makes all waiting tasks run without CUDA graphs."""
        self.waiting = [replace(task, capture=False) for task in self.waiting]

    def put_back(self, task: Task) -> None:
        """Returns a failed task to the front."""
        self.waiting.insert(0, task)


class _Worker:
    def __init__(self, config: WorkerConfig) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=worker_main, args=(theirs, config), daemon=True)
        self.process.start()
        theirs.close()
        self.task: Task | None = None
        self.epochs = 0
        self.seconds = 0.0
        self.retired = False


class Pool:
    """Runs tasks on worker processes until they are done or the deadline has passed.

    Args:
        tasks: What to train, in the order wanted.
        config: What the workers share.
        workers: How many processes.
        on_row: Called in this process with every finished row.
        log: Takes progress lines.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        config: WorkerConfig,
        workers: int,
        on_row: Callable[[Row], None],
        log: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
    ) -> None:
        self.planner = Planner(tasks, config.deadline)
        self.failures: list[tuple[Task, str]] = []
        self.work_done = 0.0
        self.epochs_done = 0
        self.rows_done = 0
        self.ready_at: float | None = None
        self.stop = False
        self._config = config
        self._count = min(workers, len(tasks))
        self._on_row = on_row
        self._log = log
        self._total = len(tasks)
        self._started = time.time()
        self._workers: list[_Worker] = []
        self._leaving: list[_Worker] = []
        self._startup_failures = 0
        self._capture_failures = 0

    def run(self) -> None:
        """Trains; returns when all is done, stopped or out of time, with no process left."""
        self._workers = [_Worker(self._config) for _ in range(self._count)]
        status_at = time.time() + _STATUS_EVERY_S
        try:
            while self._workers and not self.stop:
                now = time.time()
                if now > self._config.deadline + _GRACE_S:
                    self._log("time is up: networks still in training are given up")
                    break
                self._tick(now)
                if now > status_at:
                    self._status(now)
                    status_at = now + _STATUS_EVERY_S
                for ready in wait([w.connection for w in self._workers], timeout=0.5):
                    self._receive(next(w for w in self._workers if w.connection is ready))
                self._workers = [w for w in self._workers if not w.retired]
        except KeyboardInterrupt:
            self.stop = True
        finally:
            self._end()

    def _tick(self, now: float) -> None:
        """Is called about twice a second."""

    def _end(self) -> None:
        """Ends the workers: by asking, since a GPU shared by processes dislikes killed ones."""
        for worker in self._workers:
            with suppress(OSError):
                worker.connection.send(None)
        patience = time.time() + (_GRACE_S if self._config.device != "cpu" else 1.0)
        for worker in [*self._workers, *self._leaving]:
            worker.process.join(max(0.1, patience - time.time()))
        for worker in [*self._workers, *self._leaving]:
            if worker.process.is_alive():
                worker.process.terminate()
                worker.process.join(5)

    def work_per_second(self) -> float:
        """Returns the work trained per second since the first worker was ready."""
        if self.ready_at is None:
            return 0.0
        return self.work_done / max(1e-9, time.time() - self.ready_at)

    def _receive(self, worker: _Worker) -> None:
        try:
            kind, value = _message(worker.connection)
        except (EOFError, OSError):
            self._lost(worker, "its process died")
            return
        if kind == "epoch":
            self._epoch(worker, *value)
            return
        task, worker.task = worker.task, None
        if kind == "ready":
            self.ready_at = self.ready_at or time.time()
        elif kind == "row":
            self._row(value)
        elif kind == "stopped" and task:
            self._log(f"out of time: {task.path.stem} (seed {task.seed}) was not finished")
        elif task:
            self._failed(task, value, capture=kind != "capture")
            if kind == "capture":
                self._capture_failures += 1
                if self._capture_failures == _CAPTURE_FAILURES_MAX:
                    self._log("CUDA graphs keep failing here; going on without them")
                    self.planner.forbid_capture()
        if kind in ("capture", "failed") and self._config.device != "cpu":
            # The process ends itself: its CUDA state is suspect.
            self._replace(worker)
            return
        self._assign(worker)

    def _assign(self, worker: _Worker) -> None:
        task = None if self.stop else self.planner.take(time.time())
        worker.task, worker.epochs, worker.seconds = task, 0, 0.0
        try:
            worker.connection.send(task)
        except (BrokenPipeError, ConnectionResetError):
            self._lost(worker, "its process died")
            return
        if task is None:
            worker.retired = True
            self._leaving.append(worker)

    def _epoch(self, worker: _Worker, done: int, seconds: float, loss: float) -> None:
        task = worker.task
        if task is None:
            return
        recipe = task.recipe
        part = task.work * recipe.pixels_at(done - 1) / _squares(task, recipe.epochs)
        self.work_done += part
        self.epochs_done += 1
        # The first epochs of a size hold its start-up and captures; they are part of the price.
        if done >= 2:
            self.planner.observe(
                task.work * _squares(task, done) / _squares(task, recipe.epochs), seconds
            )
        worker.epochs, worker.seconds = done, seconds

    def _row(self, row: Row) -> None:
        self._on_row(row)
        self.rows_done += 1
        minutes = (time.time() - self._started) / 60
        self._log(
            f"[{minutes:5.1f} min] {self.rows_done}/{self._total} {row.architecture} seed "
            f"{row.seed}: top-1 {row.top1:.2f} %, {row.macs_m:.0f} MMACs, {row.seconds:.1f} s"
            f"{' ' + row.note if row.note else ''}"
        )

    def _failed(self, task: Task, text: str, capture: bool) -> None:
        self._log(f"{task.path.stem} (seed {task.seed}) failed: {text}")
        again = task.retry(capture)
        if again.attempts < _ATTEMPTS_MAX:
            self.planner.put_back(again)
        else:
            self.failures.append((task, text))

    def _lost(self, worker: _Worker, text: str) -> None:
        task, worker.task = worker.task, None
        if task:
            self._failed(task, text, capture=True)
        else:
            self._startup_failures += 1
            self._log("a worker process ended before its first network")
        self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        worker.retired = True
        worker.connection.close()
        enough = self._startup_failures >= 2 * self._count
        if self.planner.waiting and not enough and time.time() < self._config.deadline:
            self._workers.append(_Worker(self._config))

    def _status(self, now: float) -> None:
        rate = self.work_per_second()
        left = sum(task.work for task in self.planner.waiting)
        for worker in self._workers:
            if worker.task:
                share = _squares(worker.task, worker.epochs)
                left += worker.task.work * (1 - share / _squares(worker.task, 10**9))
        expected = f"{left / rate / 60:.1f} min" if rate else "unknown"
        busy = sum(worker.task is not None for worker in self._workers)
        self._log(
            f"[{(now - self._started) / 60:5.1f} min] {self.rows_done} of {self._total} done, "
            f"{busy} in training, {self.epochs_done} epochs; the rest needs about {expected}"
        )


def _message(connection: Connection) -> tuple[str, Any]:
    kind, value = connection.recv()
    return kind, value


def _squares(task: Task, epochs: int) -> int:
    recipe = task.recipe
    return sum(recipe.pixels_at(epoch) for epoch in range(min(epochs, recipe.epochs)))
