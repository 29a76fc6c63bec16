"""`operators`: what a network is made of, with shapes, MACs, parameters and bytes.

Each unit is built on the meta device and traced once; an architecture's list is put together from
these. Nothing is written by hand beside the modules, so the lists cannot drift from them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import NamedTuple

from searchspace.architecture import Architecture
from searchspace.fusion import canonical
from searchspace.graph import Graph, Node, Shape
from searchspace.liveness import live_values
from searchspace.units import PlacedUnit, Unit, units

BYTES_PER_VALUE = 4  # float32
_MOST_PREPARED = 1 << 15  # units; half a gigabyte

KINDS = (
    "conv",
    "pointwise_conv",
    "depthwise_conv",
    "grouped_conv",
    "linear",
    "matmul",
    "attention",
    "norm",
    "softmax",
    "activation",
    "elementwise",
    "pool",
    "movement",
    "other",
)

_KIND_OF_OP = {
    "BatchNormalization": "norm",
    "LayerNormalization": "norm",
    "GroupNormalization": "norm",
    "InstanceNormalization": "norm",
    "LpNormalization": "norm",
    "ScaledDotProductAttention": "attention",
    "Softmax": "softmax",
    "Relu": "activation",
    "Gelu": "activation",
    "HardSwish": "activation",
    "HardSigmoid": "activation",
    "Sigmoid": "activation",
    "Swish": "activation",
    "Tanh": "activation",
    "Erf": "activation",
    "Elu": "activation",
    "LeakyRelu": "activation",
    "PRelu": "activation",
    "Clip": "activation",
    "Add": "elementwise",
    "Sub": "elementwise",
    "Mul": "elementwise",
    "Div": "elementwise",
    "Pow": "elementwise",
    "Sqrt": "elementwise",
    "Exp": "elementwise",
    "Reciprocal": "elementwise",
    "Neg": "elementwise",
    "Abs": "elementwise",
    "Max": "elementwise",
    "Min": "elementwise",
    "Sum": "elementwise",
    "GlobalAveragePool": "pool",
    "GlobalMaxPool": "pool",
    "AveragePool": "pool",
    "MaxPool": "pool",
    "ReduceMean": "pool",
    "ReduceSum": "pool",
    "ReduceMax": "pool",
    "ReduceL2": "pool",
    "Resize": "pool",
    "Transpose": "movement",
    "Concat": "movement",
    "Split": "movement",
    "Slice": "movement",
    "Gather": "movement",
    "Pad": "movement",
    "Tile": "movement",
    "Expand": "movement",
    "DepthToSpace": "movement",
    "SpaceToDepth": "movement",
}

# Operators that only rename the same bytes.
_FREE = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "Dropout", "Shape"}
# Operators that can write over an operand that nothing else reads.
_OVERWRITING = {k for k, v in _KIND_OF_OP.items() if v in ("activation", "elementwise", "softmax")}
# fvcore's factors for the norms, so that totals compare with published counts.
_NORM_MACS_PER_VALUE = {"BatchNormalization": 2, "LayerNormalization": 5, "GroupNormalization": 5}


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator of a network, for one image, in float32.

    Of many units at once (`searchspace.templates.alike`), numbers may be arrays (n,).

    Attributes:
        name: unique within the network; begins with the unit that it belongs to.
        kind: one of `KINDS`; `other` is an operator that this project does not know.
        op: ONNX operator type.
        input_shape: shape of its first input.
        output_shape: shape of its (first) output.
        kernel: side of a convolution's or pooling's window, else 0.
        stride: stride of a convolution, else 1.
        groups: groups of a convolution, heads or batches of a product, else 1.
        macs: multiply-accumulates, counted as fvcore counts them: norms have some, activations
            and elementwise operators none, and neither has torch's fused attention (form "train"
            only; form "deploy" spells its products out and counts them).
        params: trainable parameters.
        input_bytes: bytes of all activations read.
        weight_bytes: bytes of all constants read.
        output_bytes: bytes written.
        follows: of an activation or elementwise operator, the kind of the operator whose output
            it alone consumes, so that a runtime may fuse the two; empty otherwise.
        live_bytes: bytes of all activations that are alive while it runs in its unit or graph; 0
            where it is in none. Operators that differ in it alone are equal.
    """

    name: str
    kind: str
    op: str
    input_shape: Shape
    output_shape: Shape
    kernel: int
    stride: int
    groups: int
    macs: int
    params: int
    input_bytes: int
    weight_bytes: int
    output_bytes: int
    follows: str
    live_bytes: int = field(default=0, compare=False)


def operators(
    architecture: Architecture, form: str = "train", num_classes: int | None = None
) -> tuple[Operator, ...]:
    """Return the operators of a network in order, without building it.

    Args:
        architecture: the network.
        form: `train`, the module as it is built; `deploy`, the fused graph that a device runs.
        num_classes: width of the logits; None for the architecture's own.

    Raises:
        UserError: where `form` is neither.
    """
    pairs = operators_by_unit(architecture, form, num_classes)
    return tuple(operator for _, own in pairs for operator in own)


def operators_by_unit(
    architecture: Architecture, form: str = "deploy", num_classes: int | None = None
) -> tuple[tuple[PlacedUnit, tuple[Operator, ...]], ...]:
    """Return each unit of a network with its operators."""
    placed = units(architecture, num_classes)
    pairs = tuple((part, unit_operators(part.unit, form)) for part in placed)
    return _with_kept_maps(pairs, form) if any(part.sources for part in placed) else pairs


def _with_kept_maps(
    pairs: Sequence[tuple[PlacedUnit, tuple[Operator, ...]]], form: str
) -> tuple[tuple[PlacedUnit, tuple[Operator, ...]], ...]:
    """Return units with the maps counted as alive that are kept for a later one."""
    last = {name: i for i, (part, _) in enumerate(pairs) for name in part.sources}
    sizes = {part.name: own[-1].output_bytes for part, own in pairs if part.name in last}
    found: list[tuple[PlacedUnit, tuple[Operator, ...]]] = []
    kept: set[str] = set()
    before = ""
    for index, (part, own) in enumerate(pairs):
        kept = {name for name in kept if last[name] >= index}
        taken = set(part.sources or (before,))
        alive = [operator.live_bytes for operator in own]
        if any(last.get(name, index) > index for name in taken):  # its own input is kept, too
            from searchspace.unit_modules import unit_graph  # torch

            graph = unit_graph(part.unit, form)
            alive = live_bytes(replace(graph, outputs=[*graph.outputs, *graph.inputs]))
        more = sum(sizes[name] for name in kept - taken)
        counted = zip(own, alive, strict=True)
        found.append((part, tuple(replace(o, live_bytes=a + more) for o, a in counted)))
        kept |= {part.name} & last.keys()
        before = part.name
    return tuple(found)


def unit_operators(unit: Unit, form: str = "deploy") -> tuple[Operator, ...]:
    """Return the operators of one unit, traced once per signature."""
    ready = _prepared.get((unit, form))
    return traced_operators(unit, form) if ready is None else ready


_prepared: dict[tuple[Unit, str], tuple[Operator, ...]] = {}


def is_prepared(unit: Unit, form: str) -> bool:
    """Return whether `unit_operators` has to trace nothing."""
    return (unit, form) in _prepared


def keep_prepared(form: str, operators: Mapping[Unit, tuple[Operator, ...]]) -> None:
    """Take over operators of units that were found without tracing (`searchspace.templates`)."""
    if len(_prepared) + len(operators) > _MOST_PREPARED:
        _prepared.clear()
    _prepared.update({(unit, form): found for unit, found in operators.items()})


@lru_cache(maxsize=1 << 17)
def traced_operators(unit: Unit, form: str = "deploy") -> tuple[Operator, ...]:
    """Return the operators of one unit as its module shows them."""
    from searchspace.unit_modules import unit_graph  # torch, which some commands can do without

    return tuple(operator for _, operator in graph_operators(unit_graph(unit, form)))


def clear_caches() -> None:
    """Forget all traced units."""
    _prepared.clear()
    traced_operators.cache_clear()


def from_graph(graph: Graph, form: str = "deploy") -> tuple[Operator, ...]:
    """Return the operators of any graph.

    Args:
        graph: a traced network, or one read from an ONNX file.
        form: `deploy` first folds what every runtime folds (constants into convolutions, biases
            into products; see `searchspace.fusion`); `train` takes the graph as it is.
    """
    if form == "deploy":
        graph = canonical(graph)
    return tuple(operator for _, operator in graph_operators(graph))


def graph_operators(graph: Graph) -> list[tuple[Node, Operator]]:
    """Return the operators of a graph as it stands, each with its node."""
    aliases: dict[str, str] = {}
    kinds: dict[str, str] = {}
    uses: Counter[str] = Counter(graph.outputs)
    for node in graph.nodes:
        if node.op in _FREE:
            aliases[node.outputs[0]] = _root(aliases, node.inputs[0])
        else:
            uses.update(_root(aliases, name) for name in node.inputs)
    result: list[tuple[Node, Operator]] = []
    counted: set[str] = set()
    live = iter(live_bytes(graph))
    for node in graph.nodes:
        if node.op in _FREE:
            continue
        operator = _operator(graph, node, aliases, kinds, uses, counted, next(live))
        kinds.update((name, operator.kind) for name in node.outputs)
        result.append((node, operator))
    return result


def totals(operators: Sequence[Operator]) -> dict[str, dict[str, int]]:
    """Return counts, MACs, parameters and bytes of each kind."""
    table: dict[str, dict[str, int]] = {}
    for o in operators:
        row = table.setdefault(o.kind, {"count": 0, "macs": 0, "params": 0, "bytes": 0})
        row["count"] += 1
        row["macs"] += o.macs
        row["params"] += o.params
        row["bytes"] += o.input_bytes + o.weight_bytes + o.output_bytes
    return table


def live_bytes(graph: Graph) -> list[int]:
    """Return the bytes of activations that are alive while each operator of a graph runs."""
    return [BYTES_PER_VALUE * count for count in live_values(graph, _FREE, _OVERWRITING)]


def peak_bytes(operators: Sequence[Operator]) -> int:
    """Return the most bytes of activations that are alive at once.

    Operators of a network's units serve too: what enters a unit is all that is alive before it.
    """
    return max((o.live_bytes for o in operators), default=0)


def _root(aliases: dict[str, str], name: str) -> str:
    return aliases.get(name, name)


def _operator(
    graph: Graph,
    node: Node,
    aliases: dict[str, str],
    kinds: dict[str, str],
    uses: Counter[str],
    counted: set[str],
    live: int,
) -> Operator:
    values, constants = _inputs(graph, node)
    output = graph.shapes[node.outputs[0]]
    kind, kernel, stride, groups = _classify(graph, node, constants, output)
    found = quantities(graph, node, kind, counted)
    follows = ""
    for name in values if kind in ("activation", "elementwise") else ():
        root = _root(aliases, name)
        if uses[root] == 1 and root in kinds:
            follows = kinds[root]
            break
    shapes = found.input_shape, output
    how = kernel, stride, groups
    return Operator(node.name, kind, node.op, *shapes, *how, *found.numbers, follows, live)


class Quantities(NamedTuple):
    """What follows from the shapes of an operator alone.

    Attributes:
        input_shape: of its first input.
        output_shape: of its first output.
        numbers: MACs, parameters, and bytes of inputs, of weights and of outputs.
    """

    input_shape: Shape
    output_shape: Shape
    numbers: tuple[int, int, int, int, int]


def quantities(graph: Graph, node: Node, kind: str, counted: set[str]) -> Quantities:
    """Return an operator's quantities.

    Args:
        graph: that it is in; dimensions may be arrays, of many graphs that differ in sizes.
        node: its node.
        kind: one of `KINDS`.
        counted: constants whose parameters another operator has; this one's are added.
    """
    shapes = graph.shapes
    values, constants = _inputs(graph, node)
    output = shapes[node.outputs[0]]
    trainable = (
        constants
        if graph.trainable is None
        else [name for name in constants if name in graph.trainable]
    )
    fresh = [name for name in trainable if name not in counted]
    counted.update(fresh)
    return Quantities(
        shapes[values[0]] if values else (),
        output,
        (
            _macs(graph, node, kind, output, constants),
            sum(_size(shapes[name]) for name in fresh),
            BYTES_PER_VALUE * _values_read(graph, node, values),
            BYTES_PER_VALUE * sum(_size(shapes[name]) for name in constants),
            BYTES_PER_VALUE * sum(_size(shapes[name]) for name in node.outputs),
        ),
    )


def _inputs(graph: Graph, node: Node) -> tuple[list[str], list[str]]:
    """Return the values and the constants that a node reads."""
    values = [name for name in node.inputs if name and name not in graph.constants]
    return values, [name for name in node.inputs if name in graph.constants]


def _classify(
    graph: Graph, node: Node, constants: list[str], output: Shape
) -> tuple[str, int, int, int]:
    if node.op == "Conv":
        weight = graph.shapes[node.inputs[1]]
        groups = int(node.attributes.get("group", 1))
        kernel = int(weight[-1])
        stride = int(node.attributes.get("strides", [1])[0])
        if groups == 1:
            kind = "pointwise_conv" if set(weight[2:]) == {1} and stride == 1 else "conv"
        else:
            kind = "depthwise_conv" if weight[1] == 1 and groups == weight[0] else "grouped_conv"
        return kind, kernel, stride, groups
    if node.op in ("Gemm", "MatMul"):
        kind = "linear" if any(len(graph.shapes[c]) >= 2 for c in constants) else "matmul"
        return kind, 0, 1, _size(output[:-2]) if kind == "matmul" else 1
    return _KIND_OF_OP.get(node.op, "other"), 0, 1, 1


def _macs(graph: Graph, node: Node, kind: str, output: Shape, constants: list[str]) -> int:
    shapes = graph.shapes
    if node.op == "Conv":
        return _size(output) * _size(shapes[node.inputs[1]][1:])
    if node.op == "MatMul":
        return _size(output) * shapes[node.inputs[0]][-1]
    if node.op == "Gemm":
        return (
            _size(output) * shapes[node.inputs[0]][-1 if not node.attributes.get("transA") else 0]
        )
    if node.op == "GlobalAveragePool":
        return _size(shapes[node.inputs[0]])
    return _NORM_MACS_PER_VALUE.get(node.op, 0) * _size(output)


def _values_read(graph: Graph, node: Node, values: list[str]) -> int:
    if node.op in ("Slice", "Gather"):
        return _size(graph.shapes[node.outputs[0]])
    return sum(_size(graph.shapes[name]) for name in values)


def _size(shape: Shape) -> int:
    return math.prod(shape)
