"""`operators`: against the built network, fvcore, the exported file and the published graphs."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import onnx
import pytest
import torch

from effsearch.onnx_io.onnx_files import to_onnx
from effsearch.onnx_io.reading import read_graph
from searchspace import SearchSpace, UserError, build, operators, zoo
from searchspace.graph import FORMS
from searchspace.operators import (
    KINDS,
    from_graph,
    operators_by_unit,
    totals,
    traced_operators,
    unit_operators,
)
from searchspace.units import units

MOBILE = SearchSpace.load("mobile")
# 300 sampled architectures in all; the first ones run by default.
SAMPLED = [s if s < 12 else pytest.param(s, marks=pytest.mark.slow) for s in range(300)]
DEPLOYED = [s if s < 6 else pytest.param(s, marks=pytest.mark.slow) for s in range(40)]
NAMES = [
    n if n[-2:] in ("s1", "xs", "b0", "xx") else pytest.param(n, marks=pytest.mark.slow)
    for n in zoo.names()
]


def sample(seed):
    return MOBILE.sample(np.random.default_rng(seed))


def uninitialised(architecture):
    """The network without the seconds that random weights take; counting needs none."""
    with torch.device("meta"):
        network = build(architecture)
    network = network.to_empty(device="cpu")
    for tensor in (*network.parameters(), *network.buffers()):
        tensor.data.zero_()
    return network


def check_train_form(architecture, fvcore_macs):
    network = uninitialised(architecture)
    listed = operators(architecture)
    side = architecture.resolution
    assert sum(o.macs for o in listed) == fvcore_macs(network, (1, 3, side, side))
    assert sum(o.params for o in listed) == sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_published_networks_agree_with_fvcore_and_the_module(name, fvcore_macs):
    check_train_form(zoo.load(name), fvcore_macs)


@pytest.mark.parametrize("seed", SAMPLED)
def test_sampled_networks_agree_with_fvcore_and_the_module(seed, fvcore_macs):
    check_train_form(sample(seed), fvcore_macs)


def identity(listed):
    return [
        (o.kind, o.macs, o.input_bytes, o.weight_bytes, o.output_bytes, o.follows, o.live_bytes)
        for o in listed
    ]


def check_deploy_form(architecture, path):
    model = to_onnx(uninitialised(architecture))
    onnx.save(model, path)
    listed = operators(architecture, "deploy")
    assert identity(from_graph(read_graph(path))) == identity(listed)
    weights = [4 * math.prod(i.dims) for i in model.graph.initializer if i.data_type == 1]
    assert sum(o.weight_bytes for o in listed) == pytest.approx(sum(weights), rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_published_networks_cost_what_their_files_cost(name, tmp_path):
    check_deploy_form(zoo.load(name), tmp_path / "model.onnx")


@pytest.mark.parametrize("seed", DEPLOYED)
def test_sampled_networks_cost_what_their_files_cost(seed, tmp_path):
    check_deploy_form(sample(seed), tmp_path / "model.onnx")


GRAPHS = [
    "efficientmod_s@224", "efficientmod_s_conv@224", "efficientmod_xxs@224", "efficientvit_b1@224",
    "efficientvit_b1@288", "efficientvit_b3@224", "shvit_s1@224", "shvit_s4@224", "shvit_s4@256",
    "shvit_s4@512", "swiftformer_l3@224", "swiftformer_s@224", "swiftformer_xs@224",
]  # fmt: skip


@pytest.mark.parametrize("graph", GRAPHS)
def test_totals_of_each_class_are_the_published_graphs(graph, data):
    name, resolution = graph.split("@")
    architecture = dataclasses.replace(zoo.load(name), resolution=int(resolution))
    ours = totals(operators(architecture, "deploy"))
    theirs = totals(from_graph(read_graph(data / "phones" / "graphs" / f"{graph}.onnx")))
    assert set(ours) == set(theirs)
    for kind, row in theirs.items():
        for what in ("count", "macs", "bytes"):
            assert ours[kind][what] == pytest.approx(row[what], rel=0.02), (kind, what)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("form", FORMS)
def test_every_operator_makes_sense(seed, form):
    listed = operators(sample(seed), form)
    assert {o.kind for o in listed} <= set(KINDS) - {"other"}
    for o in listed:
        assert o.output_bytes == 4 * np.prod(o.output_shape) or o.op == "Split"
        assert min(o.macs, o.params, o.weight_bytes) >= 0
        assert o.input_bytes > 0
        if "conv" in o.kind:
            assert o.macs * 4 >= o.weight_bytes / 2
            assert o.kernel % 2 == 1
        if o.kind in ("activation", "elementwise", "softmax", "movement"):
            assert o.macs == 0
    names = [o.name for o in operators_named(sample(seed), form)]
    assert len(set(names)) == len(names)


def operators_named(architecture, form):
    """Operators with the name of their unit before theirs."""
    return [
        dataclasses.replace(o, name=f"{placed.name}/{o.name}")
        for placed, listed in operators_by_unit(architecture, form)
        for o in listed
    ]


def test_deployed_form_has_no_norms_that_fold_and_no_fused_attention():
    for seed in range(20):
        ops = {o.op for o in operators(sample(seed), "deploy")}
        assert "BatchNormalization" not in ops
        assert "ScaledDotProductAttention" not in ops


def test_deployed_form_counts_attention_that_fvcore_does_not():
    architecture = zoo.load("efficientmod_s")
    train, deploy = (totals(operators(architecture, form)) for form in FORMS)
    assert train["attention"]["macs"] == 0
    assert deploy["matmul"]["count"] == 2 * train["attention"]["count"] == 16
    assert deploy["matmul"]["macs"] > 0


def test_units_join_to_the_whole():
    architecture = sample(3)
    by_unit = operators_by_unit(architecture, "deploy")
    assert [p for p, _ in by_unit] == list(units(architecture))
    assert tuple(o for _, listed in by_unit for o in listed) == operators(architecture, "deploy")


def test_classes_change_the_head_alone():
    architecture = zoo.load("shvit_s1")
    few, many = (operators(architecture, "deploy", n) for n in (10, 1000))
    assert few[:-1] == many[:-1]
    assert (few[-1].macs, many[-1].macs) == (320 * 10, 320 * 1000)


def test_resolution_scales_convolutions_with_its_square():
    small, large = (
        totals(operators(dataclasses.replace(zoo.load("shvit_s1"), resolution=r), "deploy"))
        for r in (256, 512)
    )
    assert large["depthwise_conv"]["macs"] == 4 * small["depthwise_conv"]["macs"]
    assert large["softmax"]["bytes"] == 16 * small["softmax"]["bytes"]
    assert large["conv"]["params"] == small["conv"]["params"]


def test_an_activation_after_a_convolution_may_be_fused_with_it():
    listed = operators(zoo.load("shvit_s1"), "deploy")
    assert [o.follows for o in listed if o.op == "Relu"][:3] == ["conv"] * 3
    assert all(o.follows == "" for o in listed if "conv" in o.kind)


def test_a_unit_is_traced_once():
    placed = units(zoo.load("swiftformer_xs"))
    before = traced_operators.cache_info().misses
    for _ in range(2):
        for p in placed:
            unit_operators(p.unit, "deploy")
    assert traced_operators.cache_info().misses - before <= len({p.unit for p in placed})


def test_an_unknown_form_is_a_user_error():
    with pytest.raises(UserError, match="form: 'fast' is unknown; use one of train, deploy"):
        operators(zoo.load("shvit_s1"), "fast")
