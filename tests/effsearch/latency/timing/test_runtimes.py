"""One contract for all runtimes, and a tiny one that another package might register."""

import sys
import time

import numpy as np
import pytest
import torch

from effsearch.cli import main
from effsearch.latency.profile.batch import prepare
from effsearch.latency.timing import runtimes as registry
from effsearch.latency.timing.machine import host, matches_this_machine
from effsearch.latency.timing.measure import measure_ms
from effsearch.latency.timing.runtimes import find_runtime, runtime_of, runtimes
from effsearch.precisions import INT8
from searchspace import SearchSpace, UserError
from tests.example_plugin.eager_runtime import EAGER


@pytest.fixture(autouse=True)
def with_eager(monkeypatch):
    threads = torch.get_num_threads()
    monkeypatch.setattr(registry, "installed", {registry.GROUP: {"eager": EAGER}}.get)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def network():
    return SearchSpace.load("tiny").sample(np.random.default_rng(3))


def cases():
    named = {"eager": EAGER, **registry._SHIPPED}
    return [(name, precision) for name, r in named.items() for precision in r.precisions]


@pytest.fixture(params=cases(), ids="-".join)
def runtime(request):
    name, precision = request.param
    try:
        return find_runtime(name, precision)
    except UserError as error:  # not installed, or not on this CPU
        pytest.skip(str(error))


class TestContract:
    def test_it_says_what_it_is(self, runtime):
        for key in ("runtime", "runtime_version", "precision"):
            assert runtime.identity()[key]

    def test_the_same_seed_makes_the_same_inputs_and_the_same_outputs(self, runtime, network):
        session = runtime.open(network, 1)
        first, again, other = (session.random_inputs(seed) for seed in (0, 0, 1))
        (name,) = first
        assert first[name].shape[0] == 1
        np.testing.assert_array_equal(first[name], again[name])
        assert (first[name] != other[name]).any()
        (found,), (repeated,), (different,) = (session.run(i) for i in (first, again, other))
        assert found.shape == (1, 1000)
        np.testing.assert_allclose(found, repeated, rtol=1e-5, atol=1e-6)
        # Fresh weights answer all noise nearly alike, and integers round that away.
        assert runtime.identity()["precision"] == INT8 or np.abs(found - different).max() > 0

    def test_files_give_what_the_default_runtime_makes_of_them(self, runtime, network, tmp_path):
        if runtime is EAGER:
            pytest.skip("runs no files")
        path = prepare(network.to_dict(), tmp_path / "a.onnx").path
        session = runtime.open(path, 1)
        inputs = session.random_inputs()
        (found,), (expected,) = session.run(inputs), find_runtime().open(path, 1).run(inputs)
        error = np.abs(found - expected).max() / expected.std()
        allowed = {"float32": 1e-4, "float16": 0.02, "bfloat16": 0.15, "int8": 0.5}
        assert error <= allowed[runtime.identity()["precision"]]

    def test_a_network_is_measured(self, runtime, network):
        found = measure_ms(network, 1, seconds=0.01, attempts=1, runtime=runtime)
        assert 0 < found.low_ms <= found.median_ms <= found.high_ms

    def test_operators_take_what_runs_take(self, runtime, network, tmp_path):
        if not runtime.can_profile:
            pytest.skip("does not tell the times of operators")
        item = prepare(network.to_dict(), tmp_path / "a.onnx")
        session = runtime.open(item.path, 1, profiled=True, rests=True)
        inputs = session.random_inputs()
        start = time.perf_counter()
        for _ in range(8):
            session.run(inputs)
        total_ms = (time.perf_counter() - start) * 1e3
        ms, kernels = session.profile(item.operators, leave_out=[0, 1])
        assert len(ms) == len(kernels) == len(item.operators)
        assert min(ms) >= 0
        assert 0 < sum(ms) < total_ms


def test_an_installed_runtime_is_found_by_name():
    assert set(runtimes()) == {"eager", "onnxruntime", "openvino"}
    with pytest.raises(UserError, match="'abacus' is unknown; use eager or onnxruntime or open"):
        find_runtime("abacus")


def test_a_precision_that_a_runtime_lacks_names_those_it_has():
    with pytest.raises(UserError, match="--precision: eager has float32, not 'int8'"):
        find_runtime("eager", "int8")
    with pytest.raises(UserError, match="onnxruntime has float32 or int8, not 'bfloat16'"):
        find_runtime("onnxruntime", "bfloat16")


def test_a_runtime_that_is_not_installed_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"openvino is not installed.*effsearch\[openvino\]"):
        find_runtime("openvino")


def test_the_commands_take_it(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["measure", "efficientvit_b0", "--runtime", "eager", "--seconds", "0.01", "--json"])
    assert exit_.value.code == 0
    assert '"runtime": "PyTorch"' in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_:
        main(["profile", "--device", "x", "--runtime", "eager"])
    assert exit_.value.code == 2
    assert "does not tell the times of operators" in capsys.readouterr().err


class TestRuntimeOfATable:
    @pytest.mark.parametrize(("name", "precision"), cases()[1:])
    def test_it_is_the_one_that_the_table_was_measured_on(self, name, precision):
        try:
            used = find_runtime(name, precision)
        except UserError as error:
            pytest.skip(str(error))
        assert runtime_of(host(used)) == used

    def test_where_it_is_not_here_the_default_says_so(self):
        meta = {"runtime": "TensorRT", "precision": "float16"}
        assert runtime_of(meta) == find_runtime()
        (difference,) = matches_this_machine(meta, runtime_of(meta))
        assert difference == "runtime is TensorRT, here ONNX Runtime"

    def test_another_precision_is_that_of_the_same_runtime(self):
        used = find_runtime()
        assert runtime_of(host(used), INT8) == find_runtime(precision=INT8)
        with pytest.raises(UserError, match=r"onnxruntime has .*, not 'bfloat16'"):
            runtime_of(host(used), "bfloat16")


def test_a_file_in_int8_is_not_measured_as_float32(network, tmp_path):
    item = prepare(network.to_dict(), tmp_path / "int8.onnx", INT8)
    find_runtime(precision=INT8).open(item.path, 1)
    with pytest.raises(UserError, match="computes in int8, not float32; add --precision int8"):
        find_runtime().open(item.path, 1)
