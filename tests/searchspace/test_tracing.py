"""`trace`: the graph of a forward pass, or a clear refusal."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchspace import build, zoo
from searchspace.tracing import trace


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def graph_of(function, shape=(1, 4, 6, 6)):
    return trace(Function(function), shape)


CASES = {
    "relu": (F.relu, ["Relu"]),
    "gelu": (F.gelu, ["Gelu"]),
    "hard swish": (F.hardswish, ["HardSwish"]),
    "sigmoid": (torch.sigmoid, ["Sigmoid"]),
    "sum of two": (lambda x: x + x, ["Add"]),
    "scalar": (lambda x: 2 * x, ["Mul"]),
    "reflected quotient": (lambda x: 2 / x, ["Div"]),
    "mean": (lambda x: x.mean((2, 3)), ["ReduceMean"]),
    "kept mean": (lambda x: x.mean((2, 3), keepdim=True), ["ReduceMean"]),
    "reshape": (lambda x: x.reshape(1, 4, 36), ["Reshape"]),
    "flatten": (lambda x: x.flatten(2), ["Reshape"]),
    "permute": (lambda x: x.permute(0, 2, 3, 1), ["Transpose"]),
    "transpose": (lambda x: x.transpose(-1, -2), ["Transpose"]),
    "matmul": (lambda x: x @ x.transpose(-1, -2), ["Transpose", "MatMul"]),
    "broadcast matmul": (lambda x: x @ x.reshape(4, 6, 6), ["Reshape", "MatMul"]),
    "split": (lambda x: torch.cat(x.split([1, 3], dim=1), 1), ["Split", "Concat"]),
    "function split": (lambda x: torch.cat(torch.split(x, 2, dim=1), 1), ["Split", "Concat"]),
    "slice": (lambda x: x[:, :2, 1:-1], ["Slice"]),
    "pad": (lambda x: F.pad(x, (0, 0, 0, 1), value=1.0), ["Pad"]),
    "repeat": (lambda x: x.repeat(1, 2, 1, 1), ["Tile"]),
    "softmax": (lambda x: x.softmax(dim=-1), ["Softmax"]),
    "normalize": (lambda x: F.normalize(x, dim=1), ["ReduceL2", "Clip", "Div"]),
    "float": (lambda x: x.float() + 0, ["Add"]),
    "unbind": (lambda x: x.unbind(1)[0] + 1, ["Split"] + ["Reshape"] * 4 + ["Add"]),
}


@pytest.mark.parametrize("case", CASES)
def test_operators_and_shapes_are_torchs(case):
    function, ops = CASES[case]
    graph = graph_of(function)
    assert [node.op for node in graph.nodes] == ops
    assert graph.shapes[graph.outputs[0]] == tuple(function(torch.randn(1, 4, 6, 6)).shape)
    known = {"input"} | graph.constants
    for node in graph.nodes:  # in topological order, each value made once
        assert set(node.inputs) <= known
        assert not set(node.outputs) & known
        known.update(node.outputs)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(4, 8, 3, 2, 1),
        nn.Conv2d(4, 8, 5, 1, 2, groups=4, bias=False),
        nn.Linear(6, 5),
        nn.Linear(6, 5, bias=False),
        nn.BatchNorm2d(4),
        nn.GroupNorm(2, 4),
        nn.GroupNorm(2, 4, affine=False),
        nn.LayerNorm(6),
    ],
    ids=str,
)
def test_layers_keep_their_parameters(module):
    x = torch.randn(1, 4, 6, 6)
    graph = trace(module, x.shape)
    assert graph.shapes[graph.outputs[0]] == tuple(module.eval()(x).shape)
    sizes = sorted(
        torch.Size(graph.shapes[name]).numel() for name in graph.trainable & graph.constants
    )
    assert sizes == sorted(p.numel() for p in module.parameters())


def test_the_module_is_left_as_it_is():
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    trace(module, (1, 3, 8, 8))
    assert module.training
    assert module[0].weight.device.type == "cpu"


def test_parts_scope_the_nodes():
    graph = trace(build(zoo.load("shvit_s1")), (1, 3, 224, 224))
    scopes = {node.name.split("/")[0] for node in graph.nodes}
    assert {"stem", "stages.0.blocks.1", "stages.2.downsample", "head"} <= scopes


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.cumsum(1),
        torch.sin,
        lambda x: F.interpolate(x, scale_factor=2),
        lambda x: F.interpolate(x, size=16, mode="bicubic"),
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic", align_corners=True),
    ],
    ids=["cumsum", "sin", "nearest", "size", "corners"],
)
def test_what_has_no_onnx_form_is_named(function):
    with pytest.raises(NotImplementedError, match="no ONNX form for torch operator"):
        graph_of(function)


def test_strided_slices_are_refused():
    with pytest.raises(NotImplementedError, match="plain slices"):
        graph_of(lambda x: x[:, ::2])


def test_shapes_that_do_not_broadcast_are_refused():
    with pytest.raises(ValueError, match="do not broadcast"):
        graph_of(lambda x: x + x[:, :2])
    with pytest.raises(ValueError, match="do not multiply"):
        graph_of(lambda x: x @ x[:, :, :2])
