"""`network_code`: a network as readable PyTorch code that needs nothing of effsearch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from torch import Tensor, nn

from effsearch.export.rendering import render
from effsearch.export.unit_code import UnitCode, unit_code
from searchspace import Backbone, Network, deploy
from searchspace.graph import ANY_BATCH, Graph, Node
from searchspace.resolution import height_width
from searchspace.tracing import trace

_MAP = "_map"  # at the end of the attribute of a change of layout alone, for a stage's map
_TRANSPOSED = ":transposed"


@dataclass(frozen=True)
class NetworkCode:
    """Code that builds a deployed network, and whose weights go where.

    Attributes:
        text: a Python module.
        tensors: names of the deployed network's tensors by their names in that module's state.
    """

    text: str
    tensors: Mapping[str, str]

    def state(self, deployed: nn.Module) -> dict[str, Tensor]:
        """Return the state of the module's network with a deployed network's weights."""
        held = deployed.state_dict()
        return {
            name: held[source.removesuffix(_TRANSPOSED)].t().contiguous()
            if source.endswith(_TRANSPOSED)
            else held[source]
            for name, source in self.tensors.items()
        }


@dataclass
class _Unit:
    """A part of the network.

    Attributes:
        scope: its name in the network that was traced.
        place: of which attribute of the generated network it is a part.
        nodes: its operators.
        inputs: values that it takes.
        outputs: values that it gives.
    """

    scope: str
    place: str
    nodes: list[Node]
    inputs: list[str]
    outputs: list[str]
    class_name: str = ""


@dataclass(frozen=True)
class _Step:
    """A line of the network's `forward`: the modules of a place, applied one after another."""

    attribute: str
    units: list[_Unit]

    @property
    def constructor(self) -> list[str]:
        """Lines of the code that makes it."""
        runs = [(name, len(list(run))) for name, run in groupby(u.class_name for u in self.units)]
        calls = [f"{n}()" if k == 1 else f"*({n}() for _ in range({k}))" for n, k in runs]
        if len(self.units) == 1:
            return calls
        return ["nn.Sequential(", *(f"    {call}," for call in calls), ")"]


def network_code(
    network: Network | Backbone, weights: str, facts: Mapping[str, Any]
) -> NetworkCode:
    """Return the code of a network's deployed form.

    Args:
        network: left as it is.
        weights: name of the file of weights that the code loads unless told otherwise.
        facts: what `effsearch.export.facts` says of it.

    Raises:
        NotImplementedError: where an operator has no PyTorch code here; names it.
    """
    deployed = deploy(network)
    graph = trace(deployed, (ANY_BATCH, 3, *height_width(network.architecture.resolution)))
    units = _units(graph)
    classes: dict[str, dict[str, Any]] = {}
    known: dict[str, str] = {}
    tensors: dict[str, str] = {}
    steps = _steps(units)
    for step in steps:
        for index, unit in enumerate(step.units):
            code = unit_code(deployed, unit.scope, graph, unit.nodes, unit.inputs, unit.outputs)
            body = repr((code.fields, code.forward))
            if body not in known:
                known[body] = _class_name(network, unit, classes)
                classes[known[body]] = _shown(code, unit, graph)
            unit.class_name = known[body]
            prefix = f"{step.attribute}." + (f"{index}." if len(step.units) > 1 else "")
            tensors |= {prefix + own: source for own, source in code.state.items()}
    text = render(
        "model.py.j2",
        classes=classes,
        functions=any("F." in line for own in classes.values() for line in own["forward"]),
        result="Tensor" if len(graph.outputs) == 1 else "list[Tensor]",
        steps=steps,
        forward=_forward(graph, steps),
        given=", ".join(_shape(graph, name) for name in graph.outputs),
        facts=facts,
        weights=weights,
    )
    return NetworkCode(text, tensors)


def _units(graph: Graph) -> list[_Unit]:
    units: dict[str, _Unit] = {}
    readers = graph.consumers()
    for node in graph.nodes:
        # A change of layout belongs to what it is for.
        scope = node.name.partition("/")[0].removesuffix(".layout")
        units.setdefault(scope, _Unit(scope, _place(scope), [], [], [])).nodes.append(node)
    for unit in units.values():
        own = {name for node in unit.nodes for name in node.outputs}
        inside = {id(node) for node in unit.nodes}
        taken = [name for node in unit.nodes for name in node.inputs]
        unit.inputs = list(
            dict.fromkeys(n for n in taken if n not in own and n not in graph.constants)
        )
        unit.outputs = [
            name
            for node in unit.nodes
            for name in node.outputs
            if name in graph.outputs or any(id(reader) not in inside for reader in readers[name])
        ]
    return list(units.values())


def _place(scope: str) -> str:
    """Return the attribute that a part belongs to: a stage's parts are one."""
    kind, *rest = scope.split(".")
    place = "_".join([kind.removesuffix("s"), *rest[:1]])
    return place + _MAP if kind == "stages" and len(rest) == 1 else place


def _steps(units: list[_Unit]) -> list[_Step]:
    """Return the parts of each place, together where nothing else reads what is between them."""
    steps: list[_Step] = []
    for unit in units:
        before = steps[-1] if steps else None
        if (
            before is not None
            and before.units[-1].place == unit.place
            and unit.inputs == before.units[-1].outputs
            and len(unit.inputs) == 1
            and all(unit.inputs[0] not in u.inputs for u in units if u is not unit)
        ):
            before.units.append(unit)
            continue
        used = {step.attribute for step in steps}
        name, number = unit.place, 1
        while name in used:
            number += 1
            name = f"{unit.place}_{number}"
        steps.append(_Step(name, [unit]))
    return steps


def _forward(graph: Graph, steps: list[_Step]) -> list[str]:
    """Return the lines of the network's `forward`."""
    names = {graph.inputs[0]: "x"}
    last = {name: i for i, step in enumerate(steps) for name in step.units[0].inputs}
    last |= dict.fromkeys(graph.outputs, len(steps))
    lines = []
    for index, step in enumerate(steps):
        taken = ", ".join(names[name] for name in step.units[0].inputs)
        for value in step.units[-1].outputs:
            names[value] = step.attribute if last[value] > index + 1 else "x"
        given = ", ".join(names[value] for value in step.units[-1].outputs)
        lines.append(f"{given} = self.{step.attribute}({taken})")
    if len(graph.outputs) > 1:
        return [*lines, f"return [{', '.join(names[name] for name in graph.outputs)}]"]
    return [*lines[:-1], f"return {lines[-1].partition(' = ')[2]}"]


def _class_name(network: Network | Backbone, unit: _Unit, taken: Mapping[str, Any]) -> str:
    """Return a name for a part's class: that of the module it was made of."""
    modules = dict(network.named_modules())
    word = "ChannelsFirst" if unit.place.endswith(_MAP) else type(modules[unit.scope]).__name__
    name, number = word, 1
    while name in taken or name == "Network":
        number += 1
        name = f"{word}{number}"
    return name


def _shown(code: UnitCode, unit: _Unit, graph: Graph) -> dict[str, Any]:
    """Return what the template shows of a part's class."""
    return {
        "fields": code.fields,
        "forward": code.forward,
        "arguments": ", ".join(f"{name}: Tensor" for name in code.arguments),
        "result": "Tensor" if len(unit.outputs) == 1 else "tuple[Tensor, ...]",
        "taken": ", ".join(_shape(graph, name) for name in unit.inputs),
        "given": ", ".join(_shape(graph, name) for name in unit.outputs),
    }


def _shape(graph: Graph, name: str) -> str:
    sides = ["N" if side == ANY_BATCH else str(side) for side in graph.shapes[name]]
    return f"({', '.join(sides)})"
