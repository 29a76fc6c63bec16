"""Layers and operators as PyTorch code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from searchspace.graph import Graph, Node, open_batch

ACTIVATIONS = {
    "Relu": "F.relu",
    "Gelu": "F.gelu",
    "HardSwish": "F.hardswish",
    "Sigmoid": "torch.sigmoid",
}
SIGNS = {"Add": "+", "Sub": "-", "Mul": "*", "Div": "/", "MatMul": "@"}


def _pair(value: Any) -> str:
    first, second = value
    return str(first) if first == second else f"({first}, {second})"


def _conv(layer: nn.Module) -> str | None:
    if type(layer) is not nn.Conv2d or layer.dilation != (1, 1):
        return None
    parts = [str(layer.in_channels), str(layer.out_channels), _pair(layer.kernel_size)]
    if layer.stride != (1, 1):
        parts.append(f"stride={_pair(layer.stride)}")
    if layer.padding != (0, 0):
        parts.append(f"padding={_pair(layer.padding)}")
    if layer.groups != 1:
        parts.append(f"groups={layer.groups}")
    if layer.bias is None:
        parts.append("bias=False")
    return f"nn.Conv2d({', '.join(parts)})"


def _linear(layer: nn.Module) -> str | None:
    if type(layer) is not nn.Linear:
        return None
    bias = ", bias=False" if layer.bias is None else ""
    return f"nn.Linear({layer.in_features}, {layer.out_features}{bias})"


def _layer_norm(layer: nn.Module) -> str | None:
    if type(layer) is not nn.LayerNorm or len(layer.normalized_shape) != 1:
        return None
    return f"nn.LayerNorm({layer.normalized_shape[0]}{_epsilon(layer.eps)})"


def _group_norm(layer: nn.Module) -> str | None:
    if type(layer) is not nn.GroupNorm:
        return None
    return f"nn.GroupNorm({layer.num_groups}, {layer.num_channels}{_epsilon(layer.eps)})"


def _batch_norm(layer: nn.Module) -> str | None:
    if type(layer) not in (nn.BatchNorm1d, nn.BatchNorm2d):
        return None
    assert isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)
    return f"nn.{type(layer).__name__}({layer.num_features}{_epsilon(layer.eps)})"


def _epsilon(value: float) -> str:
    return "" if value == 1e-5 else f", eps={value!r}"


LAYERS: dict[str, Callable[[nn.Module], str | None]] = {
    "Conv": _conv,
    "Gemm": _linear,
    "MatMul": _linear,
    "LayerNormalization": _layer_norm,
    "GroupNormalization": _group_norm,
    "BatchNormalization": _batch_norm,
}


def _reduce(method: str) -> Callable[[Graph, Node], str]:
    def text(_: Graph, node: Node) -> str:
        keep = ", keepdim=True" if node.attributes["keepdims"] else ""
        axes = node.attributes["axes"]
        dims = axes[0] if len(axes) == 1 else f"({', '.join(map(str, axes))})"
        return f"{{0}}.{method}({dims}{keep})"

    return text


def _slice(graph: Graph, node: Node) -> str:
    shape, a = graph.shapes[node.inputs[0]], node.attributes
    parts = [":"] * (max(a["axes"]) + 1)
    for start, end, axis in zip(a["starts"], a["ends"], a["axes"], strict=True):
        parts[axis] = f"{start or ''}:{'' if end == shape[axis] else end}"
    return f"{{0}}[{', '.join(parts)}]"


def _pad(_: Graph, node: Node) -> str:
    pads, value = node.attributes["pads"], node.attributes["value"]
    rank = len(pads) // 2
    pairs = [p for axis in reversed(range(rank)) for p in (pads[axis], pads[rank + axis])]
    while pairs[-2:] == [0, 0]:
        del pairs[-2:]
    return f"F.pad({{0}}, {tuple(pairs)}, value={value!r})"


def _resize(graph: Graph, node: Node) -> str:
    factor = node.attributes["sizes"][2] // graph.shapes[node.inputs[0]][2]
    return f'F.interpolate({{0}}, scale_factor={factor}, mode="bicubic", align_corners=False)'


def _group_norm_text(_: Graph, node: Node) -> str:
    operands = ", ".join(f"{{{index}}}" for index in range(1, len(node.inputs)))
    affine = f", {operands}" if operands else ""
    return f"F.group_norm({{0}}, {node.attributes['num_groups']}{affine}" + (
        f"{_epsilon(node.attributes['epsilon'])})"
    )


def _conv_text(_: Graph, node: Node) -> str:
    a = node.attributes
    bias = "{2}" if len(node.inputs) > 2 else "None"
    height, width = a["pads"][:2]
    return (
        f"F.conv2d({{0}}, {{1}}, {bias}, {tuple(a['strides'])}, {(height, width)}, 1, {a['group']})"
    )


def _linear_text(_: Graph, node: Node) -> str:
    return f"F.linear({', '.join(f'{{{index}}}' for index in range(len(node.inputs)))})"


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


TEXTS: Mapping[str, Callable[[Graph, Node], str]] = {
    "Conv": _conv_text,
    "Gemm": _linear_text,
    "GroupNormalization": _group_norm_text,
    "Clip": lambda g, n: "{0}.clamp(min={1})",
    "Softmax": lambda g, n: f"{{0}}.softmax({n.attributes['axis']})",
    "ReduceMean": _reduce("mean"),
    "ReduceSum": _reduce("sum"),
    "Reshape": lambda g, n: f"{{0}}.reshape({_listed(open_batch(n.attributes['shape']))})",
    "Transpose": lambda g, n: f"{{0}}.permute({_listed(n.attributes['perm'])})",
    "Split": lambda g, n: f"{{0}}.split({list(n.attributes['split'])}, dim={n.attributes['axis']})",
    "Concat": lambda g, n: (
        f"torch.cat([{_listed([f'{{{i}}}' for i in range(len(n.inputs))])}], "
        f"dim={n.attributes['axis']})"
    ),
    "Slice": _slice,
    "Pad": _pad,
    "Resize": _resize,
    "Tile": lambda g, n: f"{{0}}.repeat({_listed(n.attributes['repeats'])})",
}
