"""OpenVINO's counters, read back as times of runs and credited to operators."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effsearch.latency.profile.batch import prepare
from effsearch.latency.timing.openvino_kernels import ExecutedNode, operators_of, run_times_us
from searchspace import operators, zoo


@given(st.lists(st.floats(0.1, 400.0), min_size=2, max_size=60), st.integers(0, 2**32 - 1))
def test_runs_are_told_from_means_that_are_cut(us, seed):
    rng = np.random.default_rng(seed)
    runs = np.array(us) * rng.uniform(0.9, 1.1, len(us))
    cut = np.floor(runs)
    means = [[int(cut[: n + 1].sum() // (n + 1))] for n in range(len(cut))]
    found = run_times_us(means)[:, 0]
    # Sums are known to half as many microseconds as there were runs.
    assert np.abs(np.cumsum(found) - np.cumsum(runs)).max() <= len(runs)
    kept = np.arange(len(runs)) % 3 > 0
    assert abs(found[kept].mean() - runs[kept].mean()) <= 2 * len(runs)


def test_times_of_whole_microseconds_have_no_bias():
    rng = np.random.default_rng(0)
    runs = rng.uniform(5, 15, (60, 400))
    sums = np.floor(runs).cumsum(axis=0)
    counted = np.arange(1, 61)[:, None]
    found = run_times_us(np.floor(sums / counted).tolist())[10:].mean(axis=0)
    assert np.abs((found - runs[10:].mean(axis=0)).mean()) < 0.05
    assert np.abs(found - runs[10:].mean(axis=0)).max() < 1.5


@pytest.fixture(scope="module")
def shvit(tmp_path_factory):
    item = prepare(zoo.load("shvit_s1").to_dict(), tmp_path_factory.mktemp("x") / "a.onnx")
    return item.operators


def found(operators_, *nodes):
    executed = [ExecutedNode(kind, tuple(names)) for kind, *names in nodes]
    return [
        operators_[i].name if i >= 0 else None
        for i in operators_of(executed, operators_, {"logits"})
    ]


def test_time_goes_to_the_product_that_a_node_carries_out(shvit):
    conv, relu = shvit[0].name, shvit[1].name
    assert found(shvit, ("Convolution", f"{conv}/WithoutBiases", relu)) == [conv]
    assert found(shvit, ("Convolution", relu, f"{conv}/WithoutBiases")) == [conv]
    assert found(shvit, ("Subgraph", "Power_12", relu)) == [relu]
    assert found(shvit, ("Reorder",), ("Subgraph", "Power_12")) == [None, None]


def test_the_graphs_output_is_the_last_operator(shvit):
    assert found(shvit, ("FullyConnected", "logits")) == [shvit[-1].name]


def test_what_was_folded_into_an_operator_stands_for_it(shvit):
    product = next(o for o in shvit if o.kind == "matmul")
    unit, _, number = product.name.rpartition("_")
    unit = unit.split("/")[0]
    scale = f"{unit}/Mul_{int(number) + 1}"
    assert scale not in {o.name for o in shvit}
    assert found(shvit, ("MatMul", scale)) == [product.name]
    assert found(shvit, ("MatMul", f"{unit}/Mul_0")) == [None]


def test_norms_without_names_are_taken_in_their_order(shvit):
    norms = [o.name for o in shvit if o.kind == "norm"]
    relu = next(o.name for o in shvit if o.kind == "activation")
    nodes = [("MVN", relu), ("Reorder",), *[("RMS", f"MVN_{i}") for i in norms[1:]], ("MVN",)]
    assert found(shvit, *nodes) == [norms[0], None, *norms[1:], None]


def test_most_time_of_every_family_goes_to_operators_by_name(tmp_path):
    pytest.importorskip("openvino", reason="needs the extra openvino")
    from effsearch.latency.timing.runtimes import find_runtime

    for name in ("efficientvit_b0", "efficientmod_xxs"):
        item = prepare(zoo.load(name).to_dict(), tmp_path / f"{name}.onnx")
        session = find_runtime("openvino").open(item.path, 1, profiled=True)
        inputs = session.random_inputs()
        for _ in range(4):
            session.run(inputs)
        _, kernels = session.profile(item.operators, [0])
        priced = operators(zoo.load(name), "deploy")
        run = {
            kind: sum(k for o, k in zip(priced, kernels, strict=True) if o.kind == kind)
            for kind in ("depthwise_conv", "pointwise_conv", "linear", "matmul", "norm")
        }
        have = {kind: sum(o.kind == kind for o in priced) for kind in run}
        # Products and norms are kernels; attention is one in all.
        assert all(run[kind] >= 0.4 * have[kind] for kind in run), (name, run, have)
        # Convolutions carry out the activations behind them.
        pairs = [
            k
            for o, k in zip(priced, kernels, strict=True)
            if o.kind == "activation" and o.follows.endswith("conv")
        ]
        assert sum(pairs) <= 0.2 * len(pairs)
