"""Timing on this machine, and `effsearch measure`."""

import json

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from effsearch.cli import main
from effsearch.latency.timing import machine, measure
from effsearch.latency.timing import onnx_runtime as runtime
from effsearch.latency.timing.machine_rates import measure_peak
from effsearch.latency.timing.models import with_weights
from searchspace import UserError


def matmul_model(side=64, weight_as_input=False):
    weight = numpy_helper.from_array(np.eye(side, dtype=np.float32), "w")
    value = helper.make_tensor_value_info
    inputs = [value("x", TensorProto.FLOAT, [1, side])]
    if weight_as_input:
        inputs.append(value("w", TensorProto.FLOAT, [side, side]))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        inputs,
        [value("y", TensorProto.FLOAT, [1, side])],
        [] if weight_as_input else [weight],
    )
    opset = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString()


def test_median_and_noise_of_known_times():
    calm = measure.summarise([1.0, 1.01, 0.99] * 10, threads=1)
    assert calm.median_ms == 1.0
    assert calm.runs == 30
    assert not calm.noisy
    drifting = measure.summarise([1.0] * 10 + [1.02] * 10 + [1.1] * 10, threads=1)
    assert measure.drift([1.0] * 10 + [1.02] * 10 + [1.1] * 10) == pytest.approx(0.1 / 1.02)
    assert drifting.noisy
    assert calm.relative_error < 0.01 < drifting.relative_error < 0.1
    interrupted = measure.summarise([1.0, 2.0, 2.0] * 10, threads=1)
    assert interrupted.noisy, "most runs took twice what the quickest did"


def test_runs_are_counted_and_warm_up_is_left_out():
    calls = []
    times = measure.time_runs(lambda: calls.append(1), seconds=0.0, min_runs=7, warm_up=2)
    assert len(times) == 7
    assert len(calls) == 9
    assert len(measure.time_runs(lambda: None, seconds=10.0, max_runs=20)) == 20


def test_larger_products_take_longer():
    small = measure.measure_ms(matmul_model(32), seconds=0.05, attempts=1)
    large = measure.measure_ms(matmul_model(2048), seconds=0.05, attempts=1)
    assert 0 < small.median_ms < large.median_ms
    assert large.low_ms <= large.median_ms <= large.high_ms


def test_noise_is_measured_again_and_the_calmest_attempt_kept(monkeypatch):
    attempts = [[1.0] * 10 + [1.3] * 20, [1.0] * 10 + [1.1] * 20, [1.0] * 10 + [1.2] * 20]
    monkeypatch.setattr(measure, "time_runs", lambda run, seconds: attempts.pop(0))
    found = measure.measure_ms(matmul_model(), attempts=3)
    assert not attempts
    assert found.noisy
    assert found.median_ms == 1.1


def test_inputs_after_the_first_become_weights(tmp_path):
    path = tmp_path / "weights.onnx"
    path.write_bytes(matmul_model(weight_as_input=True))
    opened = runtime.OnnxRuntime().open(path, threads=1)
    assert list(opened.random_inputs()) == ["x"]
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(matmul_model())
    assert with_weights(plain) == plain
    assert measure.measure_ms(path, seconds=0.01, attempts=1).median_ms > 0


@pytest.mark.parametrize("threads", [0, -1, 4096])
def test_threads_are_checked(threads):
    with pytest.raises(UserError, match="threads"):
        measure.measure_ms(matmul_model(), threads)


def test_what_is_no_model_is_a_user_error(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with pytest.raises(UserError, match=r"broken\.onnx"):
        measure.measure_ms(broken)


def test_the_machine_matches_itself_and_says_what_differs():
    here = machine.host() | {"threads": 1}
    assert machine.matches_this_machine(here) == []
    other = here | {"cpu": "Abacus 9", "runtime_version": "0.1"}
    found = machine.matches_this_machine(other)
    assert len(found) == 2
    assert any("Abacus 9" in line for line in found)
    assert machine.matches_this_machine(here | {"threads": 4096})
    assert "Core ML" in machine.matches_this_machine({"runtime": "Core ML"})[0]


def test_peak_rates_are_plausible():
    peak = measure_peak(1, seconds=0.02)
    assert 1e-3 < peak.gmacs_per_ms < 10
    assert peak.mb_per_ms > 0.5
    assert peak.stream_mb_per_ms > 0.5


def test_cli_measures(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["measure", "shvit_s1", "--seconds", "0.01", "--json"])
    assert exit_.value.code == 0
    body = json.loads(capsys.readouterr().out)
    (row,) = body["measurements"]
    assert row["target"] == "shvit_s1"
    assert row["median_ms"] > 0
    assert row["runs"] >= measure.MIN_RUNS
    assert row["threads"] == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ["measure", "no_such_network"],
        ["measure", "shvit_s1", "--threads", "0"],
        ["measure", "shvit_s1", "--seconds", "-1"],
        ["measure", "shvit_s1", "--runtime", "abacus"],
        ["profile", "--device", "x", "--runtime", "abacus"],
        ["profile", "--device", "Not A Name"],
        ["profile", "--device", "x", "--minutes", "0"],
        ["profile", "--device", "x", "--space", "no_such_space"],
        ["profile", "--device", "x", "--threads", "999"],
    ],
)
def test_cli_refuses_in_one_line(arguments, capsys):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    message = capsys.readouterr().err.strip()
    assert message.count("\n") == 0
    assert "Traceback" not in message
