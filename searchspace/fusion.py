"""`canonical`: what every inference runtime folds, folded.

So graphs from different sources with the same work have the same operators.
Only shapes and structure change here; weights are folded by `searchspace.network.deploy`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

from searchspace.graph import Graph, Node

_PRODUCTS = ("Conv", "MatMul", "Gemm")
_BROADCASTING = {"Add", "Sub", "Mul", "Div"}


def canonical(graph: Graph) -> Graph:
    """Return an equivalent graph in which these are folded away.

    - batch norms, per-channel constant factors and biases after convolutions and linear layers;
    - batch norms and biases before unpadded pointwise convolutions or pooled linear layers;
    - group norms spelled as reshape, instance norm, reshape, factor, bias;
    - GELU and hard-swish spelled in elementary operators;
    - slices that together take a value apart become one split;
    - scalar factors on either side of a product of activations, and averaged linear layers;
    - transpositions of the last two axes that products of activations can take as flags;
    - expansions that only broadcast; identities; clips from below that guard a division.
    """
    graph = Graph(
        nodes=[replace(n, inputs=list(n.inputs), outputs=list(n.outputs)) for n in graph.nodes],
        shapes=dict(graph.shapes),
        inputs=list(graph.inputs),
        outputs=list(graph.outputs),
        constants=set(graph.constants),
        trainable=None if graph.trainable is None else set(graph.trainable),
        scalars=dict(graph.scalars),
    )
    for rule in (
        _drop_identities,
        _fold_constant_nodes,
        _raise_gelu,
        _raise_hard_swish,
        _raise_group_norm,
        _drop_expansions,
        _merge_slices,
        _merge_linears,
        _fold_affine_after,
        _fold_scalars_around_products,
        _fold_norm_before,
        _fold_group_norm_affine,
        _free_product_transposes,
    ):
        rule(graph)
    return graph


def _single(consumers: dict[str, list[Node]], graph: Graph, value: str) -> Node | None:
    users = consumers.get(value, [])
    return users[0] if len(users) == 1 and value not in graph.outputs else None


def _rewire_many(graph: Graph, removed: dict[int, tuple[Node, str]]) -> None:
    """Remove many nodes at once, each replaced by a source value."""
    if not removed:
        return
    renamed = {node.outputs[0]: source for node, source in removed.values()}

    def final(name: str) -> str:
        while name in renamed:
            name = renamed[name]
        return name

    graph.nodes = [node for node in graph.nodes if id(node) not in removed]
    for node in graph.nodes:
        node.inputs = [final(name) for name in node.inputs]
    graph.outputs = [final(name) for name in graph.outputs]


def _drop_identities(graph: Graph) -> None:
    _rewire_many(
        graph,
        {id(n): (n, n.inputs[0]) for n in graph.nodes if n.op in ("Identity", "Dropout", "Cast")},
    )
    for node in graph.nodes:
        if node.op != "Gather":
            continue
        # How torch's exporter spells `as_strided`, where that only adds axes.
        source, target = graph.shapes[node.inputs[0]], graph.shapes[node.outputs[0]]
        if len(source) == 1 and math.prod(target) == source[0]:
            node.op, node.inputs, node.attributes = "Reshape", node.inputs[:1], {}


def _fold_constant_nodes(graph: Graph) -> None:
    """Operators on constants alone are computed once, ahead of time."""
    kept = []
    for node in graph.nodes:
        if node.inputs and all(name in graph.constants for name in node.inputs if name):
            graph.constants.update(node.outputs)
            if graph.trainable is not None and graph.trainable & set(node.inputs):
                graph.trainable.update(node.outputs)
        else:
            kept.append(node)
    graph.nodes = kept


def _constant_operand(graph: Graph, node: Node) -> tuple[str, str] | None:
    """Return (value, constant) of a two-input node where one input is a constant."""
    if len(node.inputs) != 2:
        return None
    a, b = node.inputs
    if b in graph.constants and a not in graph.constants:
        return a, b
    if a in graph.constants and b not in graph.constants and node.op in ("Add", "Mul"):
        return b, a
    return None


def _is_scalar(graph: Graph, name: str) -> bool:
    return math.prod(graph.shapes[name]) == 1


def _raise_gelu(graph: Graph) -> None:
    """Recognise x * (1 + erf(x / sqrt 2)) / 2, in the orders that exporters write it."""
    producers, consumers = graph.producers(), graph.consumers()
    for erf in [n for n in graph.nodes if n.op == "Erf"]:
        scale = producers.get(erf.inputs[0])
        plus = _single(consumers, graph, erf.outputs[0])
        if scale is None or plus is None or plus.op != "Add":
            continue
        source = next((n for n in scale.inputs if n not in graph.constants), None)
        chain = [scale, erf, plus]
        value = plus.outputs[0]
        while len(chain) < 5:
            node = _single(consumers, graph, value)
            if node is None or node.op not in ("Mul", "Div"):
                break
            chain.append(node)
            value = node.outputs[0]
        half = [
            n
            for n in graph.nodes
            if n.op in ("Mul", "Div")
            and source in n.inputs
            and n is not scale
            and n not in chain
            and _constant_operand(graph, n) is not None
        ]
        chain += [n for n in half if n.outputs[0] in {i for c in chain for i in c.inputs}]
        if source is None or len(chain) != 5:
            continue
        position = graph.nodes.index(plus)
        gelu = Node("Gelu", [source], [value], {}, erf.name)
        graph.nodes[position] = gelu
        ids = {id(n) for n in chain}
        graph.nodes = [n for n in graph.nodes if id(n) not in ids]
        producers, consumers = graph.producers(), graph.consumers()


def _raise_hard_swish(graph: Graph) -> None:
    """Recognise x * hardsigmoid(x)."""
    for gate in [n for n in graph.nodes if n.op == "HardSigmoid"]:
        user = _single(graph.consumers(), graph, gate.outputs[0])
        if user is not None and user.op == "Mul" and gate.inputs[0] in user.inputs:
            graph.nodes.remove(gate)
            user.op, user.inputs, user.attributes = "HardSwish", [gate.inputs[0]], {}


def _raise_group_norm(graph: Graph) -> None:
    """reshape, instance norm, reshape, and a factor and a bias where they follow."""
    producers = graph.producers()
    for norm in [n for n in graph.nodes if n.op == "InstanceNormalization"]:
        consumers = graph.consumers()
        before = producers.get(norm.inputs[0])
        after = _single(consumers, graph, norm.outputs[0])
        if before is None or after is None or before.op != "Reshape" or after.op != "Reshape":
            continue
        source, value = before.inputs[0], after.outputs[0]
        if graph.shapes[source] != graph.shapes[value]:
            continue
        groups = graph.shapes[norm.inputs[0]][1]
        removed = [before, after]
        inputs = [source]
        for op in ("Mul", "Add"):
            user = _single(consumers, graph, value)
            operand = None if user is None else _constant_operand(graph, user)
            if user is None or user.op != op or operand is None:
                break
            removed.append(user)
            inputs.append(operand[1])
            value = user.outputs[0]
        norm.op, norm.inputs, norm.outputs = "GroupNormalization", inputs, [value]
        norm.attributes = {"num_groups": groups, "epsilon": norm.attributes.get("epsilon", 1e-5)}
        ids = {id(n) for n in removed}
        graph.nodes = [n for n in graph.nodes if id(n) not in ids]


def _drop_expansions(graph: Graph) -> None:
    """Expansions whose every reader would broadcast anyway, and clips that guard a division."""
    consumers = graph.consumers()
    removed: dict[int, tuple[Node, str]] = {}
    for node in graph.nodes:
        users = consumers.get(node.outputs[0], [])
        if node.outputs[0] in graph.outputs or not users:
            continue
        same = graph.shapes[node.outputs[0]] == graph.shapes[node.inputs[0]]
        if (node.op == "Expand" and (same or all(u.op in _BROADCASTING for u in users))) or (
            node.op == "Clip" and all(u.op in ("Div", "Expand") for u in users)
        ):
            removed[id(node)] = (node, node.inputs[0])
    _rewire_many(graph, removed)


def _per_channel(graph: Graph, constant: str, node: Node, moved: bool) -> bool:
    """Whether a constant is one value, or one a channel of a product's output.

    Behind a change of layout, and in a batch norm, only the size is there to tell by.
    """
    shape = graph.shapes[constant]
    size = math.prod(shape)
    if size == 1:
        return True
    out = graph.shapes[node.outputs[0]]
    axis = 1 if node.op == "Conv" else len(out) - 1
    if moved:
        return size == out[axis]
    padded = (1,) * (len(out) - len(shape)) + tuple(shape)
    return size == out[axis] and padded[axis] == size


def _fold_affine_after(graph: Graph) -> None:
    """Constant factors, biases and batch norms behind a product belong to it."""
    uses: Counter[str] = Counter(name for n in graph.nodes for name in n.inputs)
    uses.update(graph.outputs)
    owner: dict[str, Node] = {}
    removed: dict[int, tuple[Node, str]] = {}
    for node in graph.nodes:
        if node.op in _PRODUCTS and any(name in graph.constants for name in node.inputs):
            owner[node.outputs[0]] = node
            continue
        if node.op in ("Reshape", "Transpose") and uses[node.inputs[0]] == 1:
            if node.inputs[0] in owner:
                owner[node.outputs[0]] = owner[node.inputs[0]]
            continue
        if node.op in ("Add", "Mul", "Div", "Sub"):
            operand = _constant_operand(graph, node)
        elif node.op == "BatchNormalization":
            operand = (node.inputs[0], node.inputs[1])
        else:
            operand = None
        if operand is None or operand[0] not in owner or uses[operand[0]] != 1:
            continue
        product = owner[operand[0]]
        moved = operand[0] not in product.outputs or node.op == "BatchNormalization"
        if not _per_channel(graph, operand[1], product, moved):
            continue
        if node.op in ("Add", "BatchNormalization") and len(product.inputs) == 2:
            # Folding leaves a bias; the constant has its size.
            product.inputs.append(operand[1] if node.op == "Add" else node.inputs[2])
        owner[node.outputs[0]] = product
        removed[id(node)] = (node, operand[0])
    _rewire_many(graph, removed)


def _merge_slices(graph: Graph) -> None:
    """Slices along one axis that partition a value are one split of it."""
    by_source: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.op == "Slice":
            by_source.setdefault(node.inputs[0], []).append(node)
    for source, slices in by_source.items():
        whole = graph.shapes[source]
        parts = [graph.shapes[n.outputs[0]] for n in slices]
        axes = {
            axis
            for part in parts
            for axis, (a, b) in enumerate(zip(part, whole, strict=True))
            if a != b
        }
        if len(slices) < 2 or len(axes) != 1:
            continue
        axis = axes.pop()
        if sum(part[axis] for part in parts) != whole[axis]:
            continue
        first = slices[0]
        first.op, first.inputs = "Split", [source]
        first.attributes = {"axis": axis, "split": [part[axis] for part in parts]}
        first.outputs = [n.outputs[0] for n in slices]
        ids = {id(n) for n in slices[1:]}
        graph.nodes = [n for n in graph.nodes if id(n) not in ids]


def _merge_linears(graph: Graph) -> None:
    """The sum of two linear layers of one input is one linear layer."""
    producers, consumers = graph.producers(), graph.consumers()
    for node in list(graph.nodes):
        if node.op != "Add":
            continue
        layers = [producers.get(name) for name in node.inputs]
        if len(layers) != 2 or any(n is None or n.op != "Gemm" for n in layers):
            continue
        a, b = layers
        assert a is not None
        assert b is not None
        if a is b or a.inputs[0] != b.inputs[0]:
            continue
        if all(_single(consumers, graph, n.outputs[0]) is node for n in (a, b)):
            a.outputs = list(node.outputs)
            graph.nodes = [n for n in graph.nodes if n is not b and n is not node]


def _fold_scalars_around_products(graph: Graph) -> None:
    """A scalar factor on an operand or the result of a product of activations is its own."""
    producers, consumers = graph.producers(), graph.consumers()
    removed: dict[int, tuple[Node, str]] = {}
    for node in graph.nodes:
        if node.op not in ("Mul", "Div"):
            continue
        operand = _constant_operand(graph, node)
        if operand is None or not _is_scalar(graph, operand[1]):
            continue
        source = producers.get(operand[0])
        while source is not None and source.op in ("Transpose", "Reshape"):
            source = producers.get(source.inputs[0])
        user = _single(consumers, graph, node.outputs[0])
        while user is not None and user.op in ("Transpose", "Reshape"):
            user = _single(consumers, graph, user.outputs[0])
        if any(n is not None and n.op == "MatMul" for n in (source, user)):
            removed[id(node)] = (node, operand[0])
    _rewire_many(graph, removed)


def _fold_group_norm_affine(graph: Graph) -> None:
    """Gains of group norms whose every reader is linear go into the readers' weights."""
    consumers = graph.consumers()
    for node in graph.nodes:
        users = consumers.get(node.outputs[0], [])
        if node.op == "GroupNormalization" and all(_is_linear_reader(graph, u) for u in users):
            node.inputs = node.inputs[:1]


_LIGHT = {"Split", "Relu", "Pad", "Slice", "Add", "Mul", "Div", "Reshape", "Transpose"}


def _free_product_transposes(graph: Graph) -> None:
    """Swaps of the last two axes that a product nearby absorbs only rename their input."""
    producers, consumers = graph.producers(), graph.consumers()

    def is_product(node: Node) -> bool:
        return node.op == "MatMul" and not graph.constants & set(node.inputs)

    def feeds_product(node: Node, steps: int) -> bool:
        users = [u for name in node.outputs for u in consumers.get(name, [])]
        return any(
            is_product(u) or (steps > 0 and u.op in _LIGHT and feeds_product(u, steps - 1))
            for u in users
        )

    def comes_from_product(node: Node, steps: int) -> bool:
        sources = [producers[name] for name in node.inputs if name in producers]
        return any(
            is_product(p) or (steps > 0 and p.op in _LIGHT and comes_from_product(p, steps - 1))
            for p in sources
        )

    for node in graph.nodes:
        order = node.attributes.get("perm", [])
        rank = len(order)
        swapped = [*range(rank - 2), rank - 1, rank - 2]
        if node.op != "Transpose" or rank < 3 or list(order) != swapped:
            continue
        if feeds_product(node, 3) or comes_from_product(node, 3):
            node.op, node.attributes = "Reshape", {}


def _fold_norm_before(graph: Graph) -> None:
    """Batch norms whose every reader is linear and unpadded go into the readers' weights."""
    consumers = graph.consumers()
    removed: dict[int, tuple[Node, str]] = {}
    for node in graph.nodes:
        if node.op != "BatchNormalization":
            continue
        users = consumers.get(node.outputs[0], [])
        through = [
            u2
            for u in users
            for u2 in (
                consumers.get(u.outputs[0], [])
                if u.op in ("ReduceMean", "GlobalAveragePool", "Reshape", "Flatten")
                else [u]
            )
        ]
        if through and all(_is_linear_reader(graph, u) for u in through):
            removed[id(node)] = (node, node.inputs[0])
    _rewire_many(graph, removed)


def _is_linear_reader(graph: Graph, node: Node) -> bool:
    if node.op == "Gemm":
        return True
    if node.op == "MatMul":
        return node.inputs[1] in graph.constants
    if node.op != "Conv":
        return False
    return not any(node.attributes.get("pads", [0])) and node.attributes.get("group", 1) == 1
