"""One contract for all runtimes, and a tiny one that another package might register."""

import time

import numpy as np
import pytest
import torch

from effsearch.cli import main
from effsearch.latency.profile.batch import prepare
from effsearch.latency.timing import runtimes as registry
from effsearch.latency.timing.measure import measure_ms
from effsearch.latency.timing.runtimes import find_runtime, runtimes
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


@pytest.fixture(params=["eager", *registry._SHIPPED])
def runtime(request):
    return find_runtime(request.param)


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
        assert np.abs(found - different).max() > 0

    def test_an_unknown_precision_is_refused(self, runtime, network):
        with pytest.raises(UserError, match="precision: 'int3'"):
            runtime.open(network, 1, "int3")

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
    assert set(runtimes()) == {"eager", "onnxruntime"}
    with pytest.raises(UserError, match="'abacus' is unknown; use eager or onnxruntime"):
        find_runtime("abacus")


def test_the_commands_take_it(capsys):
    with pytest.raises(SystemExit) as exit_:
        main(["measure", "efficientvit_b0", "--runtime", "eager", "--seconds", "0.01", "--json"])
    assert exit_.value.code == 0
    assert '"runtime": "PyTorch"' in capsys.readouterr().out
    with pytest.raises(SystemExit) as exit_:
        main(["profile", "--device", "x", "--runtime", "eager"])
    assert exit_.value.code == 2
    assert "does not tell the times of operators" in capsys.readouterr().err
