"""A part of a traced network as the code of one `nn.Module`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from effsearch.export.operator_code import ACTIVATIONS, LAYERS, SIGNS, TEXTS
from searchspace.graph import Graph, Node

Named = Callable[[str], str]  # a value's variable, as it is when a line is written
_VARIABLES = ("x", "y", "z", "u", "v", "w")
_TRANSPOSED = ":transposed"


@dataclass
class _Line:
    """`outputs = text`, where the variables are not chosen yet."""

    outputs: list[str]
    inputs: list[str]
    text: Callable[[Named], str]


@dataclass
class UnitCode:
    """The code of a part's class, but for its name.

    Attributes:
        fields: lines of its constructor.
        forward: lines of its `forward`.
        arguments: variables that `forward` takes.
        state: names of the deployed network's tensors by those that this module gives them.
    """

    fields: list[str] = field(default_factory=list)
    forward: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)
    state: dict[str, str] = field(default_factory=dict)


def unit_code(
    deployed: nn.Module,
    scope: str,
    graph: Graph,
    nodes: Sequence[Node],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> UnitCode:
    """Return the code of some nodes.

    Args:
        deployed: the network that was traced.
        scope: the part's name in it.
        graph: the trace, for a batch of `ANY_BATCH`.
        nodes: those of the part, in order.
        inputs: values that it takes from other parts.
        outputs: values that it gives.

    Raises:
        NotImplementedError: where an operator has no form here; names it.
    """
    return _Writer(deployed, scope, graph, nodes, outputs).code(inputs, outputs)


class _Writer:
    def __init__(
        self,
        deployed: nn.Module,
        scope: str,
        graph: Graph,
        nodes: Sequence[Node],
        outputs: Sequence[str],
    ) -> None:
        self._deployed, self._scope, self._graph = deployed, scope, graph
        self._uses = Counter([*outputs, *(name for node in nodes for name in node.inputs)])
        self._code = UnitCode()
        self._attributes: dict[str, str] = {}  # by what they stand for
        self._lines: list[_Line] = []
        rest = list(nodes)
        while rest:
            del rest[: self._write(rest)]

    def code(self, inputs: Sequence[str], outputs: Sequence[str]) -> UnitCode:
        """Return the code, with few variables: one is used again where its value is not."""
        last = {name: index for index, line in enumerate(self._lines) for name in line.inputs}
        last |= dict.fromkeys(outputs, len(self._lines))
        names = dict(zip(inputs, _variables(), strict=False))
        self._code.arguments = list(names.values())
        for index, line in enumerate(self._lines):
            text = line.text(names.__getitem__)
            for value in [v for v in names if last.get(v, -1) <= index]:
                del names[value]
            for value in line.outputs:
                taken = set(names.values())
                names[value] = next(v for v in _variables() if v not in taken)
            targets = ", ".join(names[value] for value in line.outputs)
            self._code.forward.append(f"{targets} = {text}")
        found = ", ".join(names[value] for value in outputs)
        if len(outputs) == 1 and self._code.forward[-1].startswith(f"{found} = "):
            self._code.forward[-1] = f"return {self._code.forward[-1].removeprefix(f'{found} = ')}"
        else:
            self._code.forward.append(f"return {found}")
        return self._code

    def _write(self, nodes: list[Node]) -> int:
        """Write the first of some nodes, with those that belong to it; return how many."""
        node = nodes[0]
        if [n.op for n in nodes[:3]] == ["ReduceL2", "Clip", "Div"]:
            (dim,), (_, epsilon) = node.attributes["axes"], nodes[1].inputs
            eps = self._graph.scalars[epsilon]
            self._call(nodes[2].outputs, node.inputs, f"F.normalize({{0}}, dim={dim}, eps={eps!r})")
            return 3
        module = self._module(node)
        if module is not None:
            owner, used = module
            behind = nodes[1] if len(nodes) > 1 else None
            with_bias = (
                node.op == "MatMul"
                and owner.bias is not None
                and behind is not None
                and behind.op == "Add"
                and behind.inputs[0] == node.outputs[0]
            )
            outputs = behind.outputs if with_bias and behind is not None else node.outputs
            self._call(outputs, node.inputs[:1], f"self.{used}({{0}})")
            return 2 if with_bias else 1
        if node.op in ACTIVATIONS:
            self._activation(node)
            return 1
        text = TEXTS.get(node.op)
        if node.op in SIGNS:
            first, second = (
                f"({{{i}}})" if "scalar" in name and self._graph.scalars[name] < 0 else f"{{{i}}}"
                for i, name in enumerate(node.inputs)
            )
            self._call(node.outputs, node.inputs, f"{first} {SIGNS[node.op]} {second}")
        elif text is not None:
            self._call(node.outputs, node.inputs, text(self._graph, node))
        else:
            raise NotImplementedError(f"no PyTorch code for operator {node.op!r}")
        return 1

    def _activation(self, node: Node) -> None:
        """Write an activation around the line before it, where nothing else reads that."""
        (source,) = node.inputs
        call = ACTIVATIONS[node.op]
        before = self._lines[-1] if self._lines else None
        if before is None or before.outputs != [source] or self._uses[source] != 1:
            self._call(node.outputs, node.inputs, f"{call}({{0}})")
            return
        inner = before.text
        before.outputs, before.text = list(node.outputs), lambda named: f"{call}({inner(named)})"

    def _call(self, outputs: Sequence[str], inputs: Sequence[str], text: str) -> None:
        """Add a line; in its text, `{0}` stands for the first operand, and so on."""
        operands = [self._constant(name) for name in inputs]
        values = [name for name, own in zip(inputs, operands, strict=True) if own is None]

        def written(named: Named) -> str:
            return text.format(
                *(own or named(name) for name, own in zip(inputs, operands, strict=True))
            )

        self._lines.append(_Line(list(outputs), values, written))

    def _constant(self, name: str) -> str | None:
        """Return the code of a constant: a number, or a parameter that is made; else None."""
        if name in self._graph.scalars:
            return repr(self._graph.scalars[name])
        if name not in self._graph.constants:
            return None
        if name not in self._attributes:
            attribute = self._attribute(name)
            shape = ", ".join(map(str, self._graph.shapes[name]))
            self._code.fields.append(f"self.{attribute} = nn.Parameter(torch.empty({shape}))")
            self._code.state[attribute] = name
        return f"self.{self._attributes[name]}"

    def _module(self, node: Node) -> tuple[Any, str] | None:
        """Return the layer that a node is, and its attribute here; None where it is none."""
        weights = [name for name in node.inputs if name in self._graph.constants]
        if node.op not in LAYERS or not weights:
            return None
        owner = weights[0].removesuffix(_TRANSPOSED).rpartition(".")[0]
        layer = self._deployed.get_submodule(owner)
        constructor = LAYERS[node.op](layer)
        if constructor is None:
            return None
        if owner not in self._attributes:
            attribute = self._attribute(owner)
            self._code.fields.append(f"self.{attribute} = {constructor}")
            for key in layer.state_dict():
                self._code.state[f"{attribute}.{key}"] = f"{owner}.{key}"
        return layer, self._attributes[owner]

    def _attribute(self, name: str) -> str:
        """Return a new attribute for a submodule or a tensor of the deployed network."""
        path = name.removeprefix(self._scope).strip(".").split(".")
        words = [word for word in path if word != "branch"]
        if len(words) > 1 and words[-1] == "0":  # the first of a sequence, before its activation
            words.pop()
        plain = "_".join(words)
        if not plain or plain[0].isdigit():
            plain = f"layer_{plain}".rstrip("_")
        found, number = plain, 1
        while found in self._attributes.values():
            number += 1
            found = f"{plain}_{number}"
        self._attributes[name] = found
        return found


def _variables() -> Iterator[str]:
    yield from _VARIABLES
    number = 0
    while True:
        number += 1
        yield f"x{number}"
