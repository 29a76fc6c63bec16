"""`canonical`: graphs that say the same in different words become the same operators."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchspace.fusion import canonical
from searchspace.graph import Graph, Node
from searchspace.tracing import trace


class Function(nn.Module):
    def __init__(self, function, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def ops(function, shape=(1, 8, 6, 6), **parts):
    return [n.op for n in canonical(trace(Function(function, **parts), shape)).nodes]


def chain(*steps, shape=(1, 8, 4, 4), constants=None, scalars=None):
    """A graph of (op, inputs, output[, attributes]); every value has one shape."""
    graph = Graph(inputs=["x"], constants=set(constants or {}), scalars=dict(scalars or {}))
    graph.shapes = {"x": shape, **(constants or {}), **dict.fromkeys(scalars or {}, ())}
    graph.constants |= set(scalars or {})
    for op, inputs, output, *rest in steps:
        graph.nodes.append(Node(op, inputs.split(), [output], rest[0] if rest else {}, output))
        graph.shapes.setdefault(output, shape)
    graph.outputs = [steps[-1][2]]
    return graph


def test_norm_and_gains_after_a_convolution_vanish():
    parts = {"conv": nn.Conv2d(8, 8, 3, padding=1, bias=False), "norm": nn.BatchNorm2d(8)}
    parts["gain"] = nn.Parameter(torch.ones(8, 1, 1))
    assert ops(lambda m, x: F.relu(m.norm(m.conv(x)) * m.gain), **parts) == ["Conv", "Relu"]


def test_gains_that_are_not_per_channel_stay():
    parts = {"conv": nn.Conv2d(8, 8, 1), "gain": nn.Parameter(torch.ones(8))}
    # Along the last axis of (1, 8, 6, 8): positions, not channels.
    assert ops(lambda m, x: m.conv(x) * m.gain, shape=(1, 8, 6, 8), **parts) == ["Conv", "Mul"]


def test_a_product_with_another_reader_keeps_its_norm():
    parts = {"conv": nn.Conv2d(8, 8, 1), "norm": nn.BatchNorm2d(8)}

    def forward(m, x):
        y = m.conv(x)
        return m.norm(y) + y

    assert ops(forward, **parts) == ["Conv", "BatchNormalization", "Add"]


def test_norm_before_a_pointwise_convolution_vanishes_and_before_a_padded_one_stays():
    for kernel, expected in ((1, ["Conv"]), (3, ["BatchNormalization", "Conv"])):
        parts = {"norm": nn.BatchNorm2d(8), "conv": nn.Conv2d(8, 8, kernel, padding=kernel // 2)}
        assert ops(lambda m, x: m.conv(m.norm(x)), **parts) == expected


def test_bias_of_a_linear_layer_belongs_to_it():
    assert ops(lambda m, x: m.linear(x), linear=nn.Linear(6, 5)) == ["MatMul"]


def test_averaged_linear_layers_are_one():
    parts = {"a": nn.Linear(8, 3), "b": nn.Linear(8, 3)}
    found = ops(lambda m, x: (m.a(x.mean((2, 3))) + m.b(x.mean((2, 3)))) / 2, **parts)
    assert found.count("Gemm") == 2  # of two pools: different inputs as far as a graph shows

    def forward(m, x):
        pooled = x.mean((2, 3))
        return (m.a(pooled) + m.b(pooled)) / 2

    assert ops(forward, **parts) == ["ReduceMean", "Gemm"]


def test_scalars_around_products_of_activations_vanish():
    assert ops(lambda m, x: (x @ x) * 0.5) == ["MatMul"]
    assert ops(lambda m, x: (x * 0.5) @ x) == ["MatMul"]
    assert ops(lambda m, x: F.relu(x) * 0.5) == ["Relu", "Mul"]


def test_slices_that_partition_are_a_split():
    found = ops(lambda m, x: F.relu(x[:, :2]) @ F.gelu(x[:, 2:4]) + x[:, 4:6] + x[:, 6:])
    assert found.count("Split") == 1
    assert "Slice" not in found
    assert ops(lambda m, x: x[:, :2] + x[:, 2:4]).count("Slice") == 2  # leaves four channels


GELU_ORDERS = {
    "half last": [("Add", "e one", "p"), ("Mul", "x p", "m"), ("Mul", "m half", "y")],
    "half first": [("Mul", "x half", "h"), ("Add", "e one", "p"), ("Mul", "h p", "y")],
}


@pytest.mark.parametrize("order", GELU_ORDERS)
@pytest.mark.parametrize("scale", ["Div", "Mul"])
def test_gelu_spelled_out_is_gelu(order, scale):
    root = math.sqrt(2) if scale == "Div" else math.sqrt(0.5)
    graph = chain(
        (scale, "x root", "s"),
        ("Erf", "s", "e"),
        *GELU_ORDERS[order],
        scalars={"root": root, "one": 1.0, "half": 0.5},
    )
    assert [(n.op, n.inputs) for n in canonical(graph).nodes] == [("Gelu", ["x"])]
    assert canonical(graph).nodes[0].outputs == ["y"]


def test_hard_swish_spelled_out_is_hard_swish():
    graph = chain(("HardSigmoid", "x", "g"), ("Mul", "x g", "y"))
    assert [(n.op, n.inputs) for n in canonical(graph).nodes] == [("HardSwish", ["x"])]


def test_a_gate_of_something_else_stays():
    graph = chain(("HardSigmoid", "x", "g"), ("Relu", "x", "r"), ("Mul", "r g", "y"))
    assert [n.op for n in canonical(graph).nodes] == ["HardSigmoid", "Relu", "Mul"]


def test_group_norm_spelled_out_is_group_norm():
    graph = chain(
        ("Reshape", "x", "folded"),
        ("InstanceNormalization", "folded s b", "normed"),
        ("Reshape", "normed", "plain"),
        ("Mul", "plain gain", "scaled"),
        ("Add", "scaled shift", "normal"),
        ("Relu", "normal", "y"),
        constants={"s": (1,), "b": (1,), "gain": (8, 1, 1), "shift": (8, 1, 1)},
    )
    graph.shapes |= {"folded": (1, 1, 128), "normed": (1, 1, 128)}
    found = canonical(graph).nodes
    assert [n.op for n in found] == ["GroupNormalization", "Relu"]
    assert found[0].inputs == ["x", "gain", "shift"]
    assert found[0].attributes["num_groups"] == 1


def test_expansions_that_broadcast_and_clips_that_guard_vanish():
    graph = chain(
        ("ReduceL2", "x", "length"),
        ("Clip", "length", "safe"),
        ("Expand", "safe", "wide"),
        ("Div", "x wide", "y"),
    )
    graph.shapes["length"] = graph.shapes["safe"] = (1, 1, 4, 4)
    assert [n.op for n in canonical(graph).nodes] == ["ReduceL2", "Div"]


def test_clips_that_are_activations_stay():
    graph = chain(("Clip", "x", "c"), ("Relu", "c", "y"))
    assert [n.op for n in canonical(graph).nodes] == ["Clip", "Relu"]


def test_the_given_graph_is_left_as_it_is():
    graph = trace(nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)), (1, 8, 4, 4))
    before = [(n.op, list(n.inputs), list(n.outputs)) for n in graph.nodes]
    assert len(canonical(graph).nodes) == 1
    assert [(n.op, n.inputs, n.outputs) for n in graph.nodes] == before


def test_doing_it_twice_changes_nothing():
    module = Function(
        lambda m, x: F.gelu(m.norm(m.conv(x))) @ x[:, :4].repeat(1, 2, 1, 1),
        conv=nn.Conv2d(8, 8, 3, padding=1),
        norm=nn.BatchNorm2d(8),
    )
    once = canonical(trace(module, (1, 8, 6, 6)))
    twice = canonical(once)
    assert [(n.op, n.inputs) for n in once.nodes] == [(n.op, n.inputs) for n in twice.nodes]


def test_a_gather_of_everything_in_a_row_is_a_reshape():
    graph = chain(("Gather", "x", "g", {"axis": 0}), ("Relu", "g", "y"), shape=(1, 8, 1, 1))
    graph.shapes["x"] = (8,)
    assert [n.op for n in canonical(graph).nodes] == ["Reshape", "Relu"]
    graph.shapes["x"] = (9,)
    assert [n.op for n in canonical(graph).nodes] == ["Gather", "Relu"]
