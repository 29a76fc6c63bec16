"""Clusters of several nodes, each processes of this machine as Ray itself starts them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from effsearch.cli import main
from effsearch.errors import WorkFailedError
from effsearch.run.request import SearchRequest
from effsearch.search import ray_executor
from effsearch.search.evaluation import EvaluatorSpec
from effsearch.search.executors import SerialExecutor
from effsearch.search.loop import search
from effsearch.search.planner import Planner
from effsearch.search.progress import Silent
from effsearch.search.ray_executor import RayExecutor, _Work, check_cluster
from effsearch.search.study import StudyStore
from searchspace import UserError

SPEC = EvaluatorSpec("iphone12", "macs", 0.8)
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "a" * 40}


@pytest.fixture
def cluster():
    """A head that works on nothing, and two nodes of one CPU."""
    from ray.cluster_utils import Cluster

    held = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    held.working = [held.add_node(num_cpus=1), held.add_node(num_cpus=1)]
    yield held
    held.shutdown()


def trials(executor, tiny, folder, progress=None):
    folder.mkdir()
    store = StudyStore(folder, tiny)
    limits = SearchRequest(device="iphone12", budget_ms=1.0, space="tiny").limits
    try:
        return search(limits, store, Planner(tiny, 0, 80), executor, progress or Silent())
    finally:
        store.close()
        executor.close()


def answers(ray, actor):
    try:
        return ray.get(actor.evaluate.remote([])) == []
    except ray.exceptions.RayError:
        return False


@pytest.mark.slow
def test_few_cpus_are_told_and_a_killed_node_changes_no_trial(cluster, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("effsearch.search.loop._WRITE_S", 0.0)
    check_cluster(cluster.address)

    class Kill(Silent):
        """Kills a node once the first candidates are counted."""

        def advance(self, done, records):
            if len(cluster.working) == 2:
                cluster.remove_node(cluster.working.pop(), allow_graceful=False)
                while all(answers(executor._ray, actor) for actor in executor._actors.values()):
                    time.sleep(0.1)  # the node's workers follow it

    said = []
    executor = RayExecutor(SPEC, 5, cluster.address, say=said.append)
    assert said == ["5 workers are asked for, and the cluster has 2 free CPUs: 2 work"]
    list(executor.start([tiny.sample(np.random.default_rng(0))] * 8))  # both have their CPU
    with pytest.raises(WorkFailedError, match=r"1 workers are asked .* no free CPU for 0.1 s"):
        RayExecutor(SPEC, 1, cluster.address, wait_s=0.1)
    found = trials(executor, tiny, tmp_path / "ray", Kill())
    assert len(executor._actors) == 1
    assert found == trials(SerialExecutor(SPEC.make()), tiny, tmp_path / "local")
    assert not any(record.failed for record in found)


HEAD = """\
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
print(cluster.address, flush=True)
input()
cluster.shutdown()
"""


@pytest.mark.slow
def test_a_cluster_that_wants_a_token_is_told_from_none(monkeypatch):
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD], env={**os.environ, **TOKEN}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = head.stdout.readline().strip()
        # Ray tries twenty times, once a second, and says so each time.
        monkeypatch.setattr(ray_executor, "_ANSWER_S", 5)
        with pytest.raises(UserError, match="wants a token"):
            check_cluster(address)
        for name, value in TOKEN.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(ray_executor, "_ANSWER_S", 60)
        check_cluster(address)
    finally:
        head.communicate("\n")


def test_what_is_no_cluster_leaves_no_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(ray_executor, "_ANSWER_S", 5)
    out = tmp_path / "out"
    command = f"run --budget-ms 1 --device iphone12 --space tiny --engine ray --out {out}"
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        for port, reason in ((1, "refused"), (deaf.getsockname()[1], "no answer in 5 s")):
            with pytest.raises(SystemExit) as ended:
                main([*command.split(), "--ray-address", f"127.0.0.1:{port}"])
            assert ended.value.code == 2
            said = capsys.readouterr().err
            assert f"no Ray cluster at '127.0.0.1:{port}'" in said
            assert reason in said
            assert not out.exists()


class Reference:
    """What a stand-in for Ray gives instead of an object reference."""

    def __init__(self, worker, part):
        self.worker, self.part = worker, part


class Worker:
    def __init__(self, deadly):
        self.deadly, self.dead, self.evaluate = deadly, False, self

    def remote(self, part):
        return Reference(self, part)


class StandIn:
    """Stands in for Ray: workers die at a candidate, and all that they have with them."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

        class RayTaskError(RayError):
            pass

    def wait(self, references, timeout):
        return references[:1], references[1:]

    def get(self, reference):
        reference.worker.dead |= reference.worker.deadly in reference.part
        if reference.worker.dead:
            raise self.exceptions.RayError("the node is gone")
        return [f"outcome of {name}" for name in reference.part]

    def kill(self, worker):
        pass


def standing_in(workers, deadly):
    executor = object.__new__(RayExecutor)
    executor._ray, executor._owner, executor._slow = StandIn(), False, True
    executor._work = _Work()
    executor._actors = {number: Worker(deadly) for number in range(workers)}
    return executor


def test_a_candidate_that_takes_three_workers_with_it_is_recorded_as_failed():
    names = [f"n{i}" for i in range(40)]
    executor = standing_in(4, "n13")
    found = [outcome for part in executor.start(names) for outcome in part]
    assert len(executor._actors) == 1
    assert [o for i, o in enumerate(found) if i != 13] == [
        f"outcome of {name}" for name in names if name != "n13"
    ]
    assert found[13].error == "its Ray worker died: the node is gone"


def test_without_workers_what_arrived_is_given_before_the_failure():
    executor = standing_in(2, "n7")
    found = []
    arrivals = executor.start([f"n{i}" for i in range(20)])
    with pytest.raises(WorkFailedError, match=r"all Ray workers died; continue with --resume"):
        found.extend(outcome for part in arrivals for outcome in part)
    assert found == [f"outcome of n{i}" for i in range(7)]
