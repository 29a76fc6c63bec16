"""Profiles: kernels credited to operators, sequences, resuming, noise, and the whole command."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from effsearch.cli import main
from effsearch.errors import WorkFailedError
from effsearch.latency.machine_speed import MachineSpeed
from effsearch.latency.profile import batch as profile_batch
from effsearch.latency.profile import session as profiling
from effsearch.latency.profile.batch import Batch, Prepared, measure_batch, prepare
from effsearch.latency.profile.plan import ProfilePlan, Store, sequence
from effsearch.latency.profile.profiled_network import ProfiledNetwork
from effsearch.latency.profile.session import Profiler
from effsearch.latency.table import DeviceTable
from effsearch.latency.timing import interleaved as turns
from effsearch.latency.timing.kernels import Kernel, calm_mean, credit, read_profile
from effsearch.latency.timing.measure import Measurement
from effsearch.latency.timing.onnx_runtime import OnnxRuntime
from searchspace import SearchSpace, UserError, operators, zoo
from searchspace.operators import Operator


def operator(name, kind, op, follows=""):
    return Operator(name, kind, op, (1, 8), (1, 8), 0, 1, 1, 0, 0, 32, 0, 32, follows)


CHAIN = [
    operator("stem/Conv_1", "conv", "Conv"),
    operator("stem/Relu_2", "activation", "Relu", "conv"),
    operator("stages.0.blocks.0/Split_3", "movement", "Split"),
    operator("stages.0.blocks.0/Conv_4", "pointwise_conv", "Conv"),
    operator("head/MatMul_5", "linear", "MatMul"),
]


def test_each_kernel_is_credited_to_one_operator():
    kernels = [
        Kernel("stem/Relu_2_nchwc", "Conv", 1.0),  # the convolution, named after what it fused
        Kernel("ReorderOutput_token_1", "ReorderOutput", 0.1),
        Kernel("stages.0.blocks.0/Split_3", "Split", 0.2),
        Kernel("ReorderInput", "ReorderInput", 0.3),
        Kernel("stages.0.blocks.0/Conv_4_nchwc", "Conv", 2.0),
        Kernel("gemm_input_reshape_token_4", "Reshape", 0.01),
        Kernel("head/MatMul_5/MatMulAddFusion", "Gemm", 0.5),
        Kernel("gemm_output_reshape_token_5", "Reshape", 0.02),
    ]
    ms, count = credit(kernels, CHAIN)
    assert ms == pytest.approx([1.1, 0.0, 0.2, 2.3, 0.53])
    assert count == [2, 0, 1, 2, 3]
    assert sum(ms) == pytest.approx(sum(k.ms for k in kernels))


def test_calm_mean_leaves_interruptions_out():
    assert calm_mean([1.0] * 8 + [50.0, 90.0]) == 1.0
    assert calm_mean([3.0]) == 3.0


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    architecture = SearchSpace.load("tiny").sample(np.random.default_rng(3))
    return architecture, prepare(architecture.to_dict(), folder / "a.onnx")


def test_a_real_profile_is_credited_in_full(prepared):
    architecture, item = prepared
    opened = OnnxRuntime().open(item.path, 1, profiled=True)
    for _ in range(6):
        opened.run(opened.random_inputs())
    kernels = read_profile(opened._opened.end_profiling(), skip=[0, 1])
    ms, count = credit(kernels, item.operators)
    assert len(kernels) > 10
    assert sum(ms) == pytest.approx(sum(k.ms for k in kernels))
    assert sum(count) == len(kernels)
    priced = operators(architecture, "deploy")
    assert [o.op for o in priced] == [o.op for o in item.operators]
    heavy = [i for i, o in enumerate(priced) if o.kind in ("conv", "pointwise_conv", "linear")]
    assert all(count[i] >= 1 for i in heavy)


def test_the_sequence_is_the_same_each_time_and_starts_with_the_published_networks():
    plan = ProfilePlan("x", space="tiny", seed=4)
    first = [a.digest() for a in islice(sequence(plan), 30)]
    assert first == [a.digest() for a in islice(sequence(plan), 30)]
    assert first[:16] == [zoo.load(name).digest() for name in zoo.names()]
    other = [a.digest() for a in islice(sequence(ProfilePlan("x", space="tiny", seed=5)), 30)]
    assert first[16:] != other[16:]
    assert len(set(first[16:])) > 10


def test_records_survive_an_interruption_in_the_middle_of_a_line(tmp_path):
    plan = ProfilePlan("x", space="tiny")
    store = Store(tmp_path / "work", plan)
    architecture = SearchSpace.load("tiny").sample(np.random.default_rng(0))
    one = ProfiledNetwork(0, architecture, 1.5, 0.01, 2.5, (0.1, 0.2), (1, 0), 0.5)
    store.append([one])
    with store.path.open("a") as file:
        file.write('{"index": 1, "architec')
    again = Store(tmp_path / "work", plan)
    assert again.read() == [one]
    again.append([ProfiledNetwork(2, architecture, 1.6, 0.01, 2.5, (0.1, 0.2), (1, 0), 0.5)])
    assert [r.index for r in again.read()] == [0, 2]


def test_another_plans_measurements_are_not_mixed_in(tmp_path):
    store = Store(tmp_path, ProfilePlan("x", space="tiny"))
    store.append([])
    store.path.touch()
    Store(tmp_path, ProfilePlan("x", space="tiny", minutes=3))
    with pytest.raises(UserError, match="seed"):
        Store(tmp_path, ProfilePlan("x", space="tiny", seed=9))


def test_a_folder_of_an_earlier_version_goes_on(tmp_path):
    plan = ProfilePlan("x", space="tiny")
    architecture = SearchSpace.load("tiny").sample(np.random.default_rng(0))
    one = ProfiledNetwork(0, architecture, 1.5, 0.01, 2.5, (0.1, 0.2), (1, 0), 0.5)
    Store(tmp_path, plan).append([one])
    card, lines = tmp_path / "plan.json", tmp_path / "networks.jsonl"
    card.write_text(card.read_text().replace('"runtime": "onnxruntime"', '"later": 0'))
    lines.write_text(lines.read_text().replace('"relative_error"', '"spread"'))
    assert Store(tmp_path, plan).read() == [one]


class Clockwork:
    """A machine with the given reference latencies, errors and calm shares, batch after batch."""

    def __init__(self, monkeypatch, batches):
        self.batches = list(batches)
        self.networks = 0
        monkeypatch.setattr(profiling, "measure_batch", self.measure)

    def measure(self, reference, items, threads, runtime):
        reference_ms, error, calm = self.batches.pop(0)
        self.networks += len(items)
        one = Measurement(1.0, 20, threads, 0.01, 1.0, 1.0, False)
        noisy = replace(one, noisy=True)
        return Batch(
            MachineSpeed(reference_ms, 0.5),
            error,
            calm,
            [
                (noisy if i % 2 else one, [0.1] * len(item.operators), [1] * len(item.operators))
                for i, item in enumerate(items)
            ],
        )


class Job:
    def __init__(self, value):
        self.value = value

    def result(self):
        return self.value


class Pool:
    def submit(self, function, architecture, path):
        path.touch()
        return Job(Prepared(path, (CHAIN[0],)))


def run_batch(monkeypatch, tmp_path, batches):
    clock = Clockwork(monkeypatch, batches)
    said = []
    plan = ProfilePlan("x", space="tiny")
    profiler = Profiler(plan, Store(tmp_path / "work", plan), said.append)
    architecture = SearchSpace.load("tiny").sample(np.random.default_rng(0))
    profiler.references = [2.5]  # of batches before
    reference = Prepared(tmp_path, ())
    profiler._batch([(0, architecture), (1, architecture)], reference, Pool(), tmp_path)
    return profiler, clock, said


QUIET = (2.52, 0.01, 0.9)
NOISY = {
    "slower by 52%": (3.8, 0.01, 0.9),
    "known to 7.0% only": (2.5, 0.07, 0.9),
    "only 10% of the turns": (2.5, 0.01, 0.1),
}


def test_of_a_quiet_batch_the_calm_networks_are_kept(monkeypatch, tmp_path):
    profiler, clock, said = run_batch(monkeypatch, tmp_path, [QUIET])
    assert [r.index for r in profiler.records] == [0], "the other one came out noisy"
    assert profiler.records[0].reference_ms == 2.52
    assert profiler.records[0].product_ms == 0.5
    assert clock.networks == 2
    assert not said


@pytest.mark.parametrize("complaint", sorted(NOISY))
def test_a_noisy_batch_is_measured_again(monkeypatch, tmp_path, complaint):
    profiler, clock, said = run_batch(monkeypatch, tmp_path, [NOISY[complaint], QUIET])
    assert clock.networks == 4
    assert len(profiler.records) == 1
    assert complaint in said[0]
    assert "measuring again" in said[0]


def test_a_batch_that_stays_noisy_is_left_out_and_the_profile_refused(monkeypatch, tmp_path):
    batches = [NOISY["slower by 52%"]] * profiling.ATTEMPTS
    profiler, _, said = run_batch(monkeypatch, tmp_path, batches)
    assert profiler.records == []
    assert "leaving these networks out" in said[-1]
    with pytest.raises(WorkFailedError, match="noisy"):
        profiler._check_quiet()


def test_networks_measured_before_the_machine_became_calm_are_left_out(monkeypatch, tmp_path):
    profiler, _, said = run_batch(monkeypatch, tmp_path, [(1.9, 0.01, 0.9)])
    assert not said, "a faster machine is no reason to measure again"
    (calm,) = profiler.records
    before = [replace(calm, reference_ms=ms) for ms in (2.5, 2.1)]
    assert profiling.calm_records([calm, *before]) == [calm, before[1]]
    assert profiling.calm_records([]) == []


def test_a_batch_measures_networks_and_their_operators(prepared):
    _, item = prepared
    batch = measure_batch(item, [item, item], 1)
    assert batch.speed.reference_ms > 0
    assert batch.speed.product_ms > 0
    assert 0 <= batch.calm <= 1
    assert len(batch.networks) == 2
    for found, ms, kernels in batch.networks:
        assert found.median_ms > 0
        assert found.runs >= profile_batch.MIN_ROUNDS
        assert len(ms) == len(kernels) == len(item.operators)
        assert sum(ms) > 0


# What is tested is the path from runs to a table; a busy machine must not fail it.
PATIENT = (
    (profiling, "BATCH_NOISE_LIMIT", 10.0),
    (profiling, "MOVED_LIMIT", 10.0),
    (profiling, "LEAST_CALM", 0.0),
    (profiling, "BATCH", 24),  # one is enough for a table
    (profile_batch, "NETWORK_NOISE_LIMIT", 10.0),
    (profile_batch, "SECONDS_PER_NETWORK", 0.1),
    (turns, "MIN_CALM_TURNS", 0),
)


@pytest.mark.slow
def test_the_command_goes_on_after_a_kill_and_makes_a_table(tmp_path, capsys, monkeypatch):
    line = (
        "profile --device here --space tiny --no-zoo --minutes 0.25 --json "
        f"--work {tmp_path}/home/work --out {tmp_path}/home/tables"
    )
    home = tmp_path / "home"
    home.mkdir()
    script = "\n".join(
        [
            "import importlib",
            "from pathlib import Path",
            "from tests.fixtures.killing import run_until",
            "if __name__ == '__main__':",
            *(
                f"    importlib.import_module({module.__name__!r}).{name} = {value}"
                for module, name, value in PATIENT
            ),
            f"    run_until(Path({str(home)!r}), {line!r}, 3)",
        ]
    )
    (tmp_path / "killed.py").write_text(script)
    path = os.pathsep.join([os.getcwd(), *filter(None, sys.path)])
    killed = subprocess.run(
        [sys.executable, str(tmp_path / "killed.py")],
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )
    assert killed.returncode == -9, (tmp_path / "said").read_text()
    # The third write is the table or another batch, after the plan's and the first batch's.
    assert not list((home / "tables").glob("*.json"))
    kept = len((home / "work" / "networks.jsonl").read_text().splitlines()) - 1
    assert kept > 0
    with (home / "work" / "networks.jsonl").open("a") as file:
        file.write('{"index": 99, "archi')  # as if it was cut off too
    for module, name, value in PATIENT:
        monkeypatch.setattr(module, name, value)
    with pytest.raises(SystemExit) as exit_:
        main(line.split(" "))
    assert exit_.value.code == 0
    out, err = capsys.readouterr()
    assert f"resuming: {kept} networks measured before are kept" in err
    body = json.loads(out)
    assert body["kind"] == "measured"
    assert body["references"] > kept
    table = DeviceTable.load(home / "tables" / "here.json")
    network = SearchSpace.load("tiny").sample(np.random.default_rng(77))
    assert table.predict(network).mean_ms > 0
