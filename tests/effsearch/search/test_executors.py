from __future__ import annotations

import multiprocessing.forkserver
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from effsearch.errors import WorkFailedError
from effsearch.search.engines import make_executor
from effsearch.search.evaluation import EvaluatorSpec
from effsearch.search.executors import LocalExecutor, SerialExecutor, chunks
from effsearch.search.ray_executor import RayExecutor, connect_ray
from searchspace import UserError, zoo

SPEC = EvaluatorSpec("iphone12", "macs", 0.8)


def gathered(arrivals):
    return [outcome for some in arrivals for outcome in some]


@pytest.fixture(scope="module")
def networks(tiny):
    rng = np.random.default_rng(0)
    return [tiny.sample(rng) for _ in range(30)]


@pytest.fixture(scope="module")
def expected(networks):
    return SPEC.make()(networks)


def test_processes_give_what_this_process_gives(networks, expected):
    executor = LocalExecutor(SPEC, 2)
    try:
        assert gathered(executor.start(networks)) == expected
        first, second = executor.start(networks[:7]), executor.start(networks[7:])
        assert gathered(first) + gathered(second) == expected
        assert gathered(executor.start([])) == []
    finally:
        executor.close()


def test_a_killed_worker_is_a_clear_failure(networks):
    executor = LocalExecutor(SPEC, 1)
    try:
        gathered(executor.start(networks[:1]))
        for pid in executor._pool._processes:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        with pytest.raises(WorkFailedError, match="worker process died"):
            gathered(executor.start(networks))
    finally:
        executor.close()


def test_work_under_way_is_dropped_at_once(networks):
    executor = LocalExecutor(EvaluatorSpec("iphone12", "zero-cost", 0.8), 1)
    arrivals = executor.start([zoo.load("efficientvit_b3")] * 40)
    next(arrivals)
    workers = list(executor._pool._processes.values())
    executor.close()
    for worker in workers:
        worker.join(30)
        assert not worker.is_alive()


def test_a_killed_fork_server_is_a_failure_and_no_interruption(networks):
    executor = LocalExecutor(SPEC, 1)
    server = multiprocessing.forkserver._forkserver
    try:
        gathered(executor.start(networks[:1]))
        os.kill(server._forkserver_pid, signal.SIGKILL)
        for pid in executor._pool._processes:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.5)
        with pytest.raises(WorkFailedError, match="worker process died"):
            gathered(executor.start(networks))
    finally:
        executor.close()


def test_workers_do_not_outlive_a_killed_parent():
    code = (
        "import os, time\n"
        "from effsearch.search.evaluation import EvaluatorSpec\n"
        "from effsearch.search.executors import LocalExecutor\n"
        "from searchspace import zoo\n"
        "if __name__ == '__main__':\n"
        "    e = LocalExecutor(EvaluatorSpec('iphone12', 'macs', 0.8), 1)\n"
        "    list(e.start([zoo.load('shvit_s1')]))\n"
        "    print(*e._pool._processes, flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("the worker still runs")


@pytest.mark.slow
def test_a_ray_cluster_gives_what_this_process_gives(networks, expected):
    executor = RayExecutor(SPEC, 2)
    try:
        assert gathered(executor.start(networks)) == expected
    finally:
        executor.close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_a_quick_mistake(address):
    with pytest.raises(UserError, match="--ray-address: no Ray cluster at"):
        connect_ray(address, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "rey", "workers": 1}, "--engine"),
        ({"engine": "local", "workers": 0}, "--workers"),
        ({"engine": "local", "workers": 1, "address": "x"}, "--ray-address"),
    ],
)
def test_wrong_requests_name_their_option(options, message):
    with pytest.raises(UserError, match=message):
        make_executor(spec=SPEC, evaluator=SPEC.make(), **options)


def test_one_worker_needs_no_process():
    assert isinstance(make_executor("local", SPEC, SPEC.make(), 1), SerialExecutor)


def test_chunks_are_whole_even_and_in_order():
    items = list(range(11))
    for count in (1, 2, 3, 11, 50):
        parts = chunks(items, count)
        assert [x for part in parts for x in part] == items
        sizes = [len(part) for part in parts]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= 1
    assert chunks([], 3) == []


def test_spec_names_what_is_unknown():
    with pytest.raises(UserError, match="iphone12"):
        EvaluatorSpec("iphone21", "macs", 0.8).make()
