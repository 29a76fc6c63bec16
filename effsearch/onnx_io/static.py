"""A traced graph as a torch module whose every shape is a plain number.

Converters that follow torch traces stumble over shapes computed from shapes; here there are none.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace import Backbone, Network, deploy
from searchspace.graph import Graph, Node
from searchspace.resolution import height_width
from searchspace.tracing import trace


class StaticNetwork(nn.Module):
    """Runs the deployed form of a network node by node: (N, 3, H, W) to what the network gives.

    A backbone's maps come as a tuple.

    Args:
        network: left as it is.
        rounded: what happens to every constant and every node's result; nothing where None.
        batch: N, fixed.
    """

    def __init__(
        self,
        network: Network | Backbone,
        rounded: Callable[[Tensor], Tensor] | None = None,
        batch: int = 1,
    ) -> None:
        super().__init__()
        self._rounded = rounded
        deployed = deploy(network)
        self.graph = trace(deployed, (batch, 3, *height_width(network.architecture.resolution)))
        tensors = {**dict(deployed.named_parameters()), **dict(deployed.named_buffers())}
        self._slots: dict[str, str] = {}
        for index, name in enumerate(sorted(self.graph.constants)):
            if name in self.graph.scalars:
                continue
            source = name.removesuffix(":transposed")
            value = tensors[source].detach()
            slot = f"constant_{index}"
            self.register_buffer(slot, value.t().contiguous() if source != name else value)
            self._slots[name] = slot
        for node in self.graph.nodes:
            if node.op == "Resize":
                self._place_matrices(node)

    def _place_matrices(self, node: Node) -> None:
        """Keep an enlargement as the products of rows and of columns that it is.

        Converters know no bicubic interpolation.
        """
        before, after = self.graph.shapes[node.inputs[0]], node.attributes["sizes"]
        for axis, slot in ((2, "rows"), (3, "columns")):
            name = f"{slot}_{len(self._slots)}"
            self.register_buffer(name, _cubic(before[axis], after[axis]))
            source = f"{node.name}:{slot}"
            self._slots[source] = name
            node.inputs.append(source)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Run the graph on one input."""
        values: dict[str, Any] = {name: getattr(self, slot) for name, slot in self._slots.items()}
        values.update(self.graph.scalars)
        values[self.graph.inputs[0]] = x
        if self._rounded is not None:
            values = {name: _round(self._rounded, value) for name, value in values.items()}
        for node in self.graph.nodes:
            operands = [values[name] for name in node.inputs]
            run = self._length if node.op == "ReduceL2" else partial(_RUN[node.op], self.graph)
            found = run(node, *operands)
            results = (found,) if isinstance(found, Tensor) else tuple(found)
            if self._rounded is not None:
                results = tuple(map(self._rounded, results))
            values.update(zip(node.outputs, results, strict=True))
        outputs = tuple(values[name] for name in self.graph.outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def _length(self, node: Node, x: Tensor) -> Tensor:
        """Return lengths by the operators that converters see, each rounded."""
        rounded = self._rounded or (lambda value: value)
        axes, keep = node.attributes["axes"], bool(node.attributes["keepdims"])
        return torch.sqrt(rounded(rounded(x * x).sum(axes, keepdim=keep)))


def _round(rounded: Callable[[Tensor], Tensor], value: Tensor | float) -> Tensor | float:
    if isinstance(value, Tensor):
        return rounded(value)
    return float(rounded(torch.tensor(value)))


def _cubic(before: int, after: int) -> Tensor:
    """Return the matrix (after, before) of bicubic interpolation along one axis."""
    identity = torch.eye(before)[None, None]
    size = (after, before)
    enlarged = F.interpolate(identity, size=size, mode="bicubic", align_corners=False)
    return enlarged[0, 0]


def _resize(_: Graph, node: Node, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return rows @ x @ columns.t()


def _conv(_: Graph, node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    a = node.attributes
    return F.conv2d(x, weight, bias, a["strides"], a["pads"][:2], 1, a["group"])


def _group_norm(_: Graph, node: Node, x: Tensor, *affine: Tensor) -> Tensor:
    a = node.attributes
    weight, bias = affine if affine else (None, None)
    return F.group_norm(x, a["num_groups"], weight, bias, a["epsilon"])


def _layer_norm(graph: Graph, node: Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    # Not weight.shape: a trace would follow it.
    shape = graph.shapes[node.inputs[1]]
    return F.layer_norm(x, shape, weight, bias, node.attributes["epsilon"])


def _slice(_: Graph, node: Node, x: Tensor) -> Tensor:
    a = node.attributes
    for start, end, axis in zip(a["starts"], a["ends"], a["axes"], strict=True):
        x = x.narrow(axis, start, end - start)
    return x


def _pad(_: Graph, node: Node, x: Tensor) -> Tensor:
    pads = node.attributes["pads"]
    rank = len(pads) // 2
    pairs = [p for axis in reversed(range(rank)) for p in (pads[axis], pads[rank + axis])]
    return F.pad(x, pairs, value=node.attributes["value"])


def _reduce(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(_: Graph, node: Node, x: Tensor) -> Tensor:
        a = node.attributes
        return function(x, a["axes"], keepdim=bool(a["keepdims"]))

    return run


def _simple(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def run(_: Graph, node: Node, *operands: Any) -> Tensor:
        return function(*operands)

    return run


_RUN: dict[str, Callable[..., Any]] = {
    "Conv": _conv,
    "GroupNormalization": _group_norm,
    "LayerNormalization": _layer_norm,
    "Gemm": _simple(F.linear),
    "MatMul": _simple(torch.matmul),
    "Add": _simple(torch.add),
    "Sub": _simple(torch.sub),
    "Mul": _simple(torch.mul),
    "Div": _simple(torch.div),
    "Relu": _simple(F.relu),
    "Gelu": _simple(F.gelu),
    "HardSwish": _simple(F.hardswish),
    "Sigmoid": _simple(torch.sigmoid),
    "Clip": lambda _, n, x, low: x.clamp(min=low),
    "Softmax": lambda _, n, x: F.softmax(x, dim=n.attributes["axis"]),
    "ReduceMean": _reduce(torch.mean),
    "ReduceSum": _reduce(torch.sum),
    "Reshape": lambda _, n, x: x.reshape(n.attributes["shape"]),
    "Transpose": lambda _, n, x: x.permute(n.attributes["perm"]),
    "Split": lambda _, n, x: x.split(n.attributes["split"], dim=n.attributes["axis"]),
    "Concat": lambda _, n, *xs: torch.cat(xs, dim=n.attributes["axis"]),
    "Slice": _slice,
    "Pad": _pad,
    "Resize": _resize,
    "Tile": lambda _, n, x: x.repeat(n.attributes["repeats"]),
}
