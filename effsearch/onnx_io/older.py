"""`for_opset`: a graph in the operators of an older ONNX version."""

from __future__ import annotations

import math
from dataclasses import replace

from searchspace.graph import Graph, Node

GELU, LAYER_NORM, HARD_SWISH = 20, 17, 14  # the opset that brought each


def for_opset(graph: Graph, opset: int) -> Graph:
    """Return a graph without operators that an opset lacks; they are spelled out.

    Args:
        graph: left as it is.
        opset: 13 or more.
    """
    older = replace(graph, nodes=[], constants=set(graph.constants), scalars=dict(graph.scalars))
    for node in graph.nodes:
        if node.op == "Gelu" and opset < GELU:
            _Spelled(older, node).gelu()
        elif node.op == "LayerNormalization" and opset < LAYER_NORM:
            _Spelled(older, node).layer_norm()
        elif node.op == "HardSwish" and opset < HARD_SWISH:
            _Spelled(older, node).hard_swish()
        else:
            older.nodes.append(node)
    return older


class _Spelled:
    """Writes one node as several into a graph."""

    def __init__(self, graph: Graph, node: Node) -> None:
        self._graph, self._node, self._count = graph, node, 0

    def step(self, op: str, *inputs: str | float, last: bool = False, **attributes: object) -> str:
        self._count += 1
        name = f"{self._node.name}/{op}_{self._count}"
        output = self._node.outputs[0] if last else name
        operands = [item if isinstance(item, str) else self._scalar(item) for item in inputs]
        self._graph.nodes.append(Node(op, operands, [output], attributes, name))
        return output

    def _scalar(self, value: float) -> str:
        name = f"scalar:{value!r}"
        self._graph.constants.add(name)
        self._graph.scalars[name] = value
        return name

    def gelu(self) -> None:
        """Gelu: x (1 + erf(x / sqrt 2)) / 2."""
        (x,) = self._node.inputs
        share = self.step("Add", self.step("Erf", self.step("Div", x, math.sqrt(2))), 1.0)
        self.step("Mul", self.step("Mul", x, share), 0.5, last=True)

    def hard_swish(self) -> None:
        """Hard swish: x times its hard sigmoid."""
        (x,) = self._node.inputs
        self.step("Mul", x, self.step("HardSigmoid", x, alpha=1 / 6, beta=0.5), last=True)

    def layer_norm(self) -> None:
        """Layer norm: (x - mean) / sqrt(variance + epsilon), then gain and bias."""
        x, gain, bias = self._node.inputs
        axes = [self._node.attributes["axis"]]
        centred = self.step("Sub", x, self.step("ReduceMean", x, axes=axes, keepdims=1))
        squares = self.step("Mul", centred, centred)
        variance = self.step("ReduceMean", squares, axes=axes, keepdims=1)
        spread = self.step("Sqrt", self.step("Add", variance, self._node.attributes["epsilon"]))
        normed = self.step("Mul", self.step("Div", centred, spread), gain)
        self.step("Add", normed, bias, last=True)
