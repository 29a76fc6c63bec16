"""`Graph`: a network as a list of nodes in ONNX's vocabulary, with static shapes.

One form for what is traced from our modules, read from ONNX files, priced, and exported.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

FORMS = ("train", "deploy")  # as trained, and as inference runs it

Shape = tuple[int, ...]

# A batch size that stands for any: a prime, of which nothing else in shapes is a multiple.
ANY_BATCH = 1_000_003


def open_batch(shape: Sequence[int]) -> list[int]:
    """Return a shape to reshape to, with -1 where it depends on a batch of `ANY_BATCH`."""
    return [-1 if side and side % ANY_BATCH == 0 else side for side in shape]


# Operators that run graphs of their own, or not, or often: what that costs is not in the file.
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})


@dataclass
class Node:
    """One operator.

    Attributes:
        op: ONNX operator type. `GroupNormalization` has one scale and bias per channel.
        inputs: names of values and constants; empty where an optional input is left out.
        outputs: names of values.
        attributes: ONNX attributes; axes and shapes that ONNX takes as inputs are here too.
        name: unique; begins with the scope of the part that it belongs to.
    """

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any] = field(default_factory=dict)
    name: str = ""


@dataclass
class Graph:
    """Nodes in topological order.

    Attributes:
        nodes: the operators.
        shapes: shape of every value and constant by name.
        inputs: names of the graph's inputs.
        outputs: names of the graph's outputs.
        constants: names of weights, and of other constants.
        trainable: those constants that training changes; None where that is not known.
        scalars: values of constants of one element, where they are known.
    """

    nodes: list[Node] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    constants: set[str] = field(default_factory=set)
    trainable: set[str] | None = None
    scalars: dict[str, float] = field(default_factory=dict)

    def consumers(self) -> dict[str, list[Node]]:
        """Return the nodes that read each value."""
        users: dict[str, list[Node]] = defaultdict(list)
        for node in self.nodes:
            for name in node.inputs:
                users[name].append(node)
        return users

    def producers(self) -> dict[str, Node]:
        """Return the node that makes each value."""
        return {name: node for node in self.nodes for name in node.outputs}
