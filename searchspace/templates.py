"""`alike`: the operators of many units at once, without building and tracing each of them.

Units of one structure (a type with the options that change its graph) differ in sizes alone:
widths, sides, kernels, heads. A few of them are traced; every dimension that occurs in their graphs
is then one affine function of widths times one of the sides, found by trying which ones agree with
all the traces. Where none does, or where a unit is not like the traced ones, it is traced itself,
so that a component that is unknown here is slow and never wrong.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchspace.graph import FORMS, Graph, Node
from searchspace.operators import (
    Operator,
    graph_operators,
    is_prepared,
    keep_prepared,
    live_bytes,
    quantities,
    unit_operators,
)
from searchspace.template_fit import Dimension, Fit, Integers, NotAffineError, independent
from searchspace.unit_sizes import LATTICE, Sizes, unit_sizes, units_alike
from searchspace.units import Unit

FEW = 9  # so many units of one structure are as quickly traced as their template is found
_CHECKS = 2  # traces beyond as many as there are sizes
_LEAST = 6  # traces at least: three unknowns at most are found

Rows = NDArray[np.intp]
Size = Dimension | int


@dataclass(frozen=True)
class Alike:
    """Units whose operators differ in numbers alone.

    Attributes:
        rows: where they are among all, (n,).
        operators: as of one unit, but numbers that differ are arrays (n,).
    """

    rows: Rows
    operators: tuple[Operator, ...]


@lru_cache(maxsize=4)
def alike(units: tuple[Unit, ...], form: str = "deploy") -> tuple[Alike, ...]:
    """Return the operators of many units, group by group.

    Args:
        units: any; those of which nothing else is like them make groups of one.
        form: `train` or `deploy`, as `searchspace.operators` has them.
    """
    groups = list(_templates[form].groups(units))
    left = np.ones(len(units), bool)
    for group in groups:
        left[group.rows] = False
    alone = (Alike(np.array([i]), unit_operators(units[i], form)) for i in np.flatnonzero(left))
    return (*groups, *alone)


def rows_of_alike(
    units: Sequence[Unit],
    rows: Callable[[Alike], NDArray[np.float64]],
    form: str = "deploy",
) -> NDArray[np.float64]:
    """Return a row for each unit, (n, d), from what is said of each group's (m, d)."""
    groups = alike(tuple(units), form)
    found = [rows(group) for group in groups]
    result = np.empty((len(units), found[0].shape[1]))
    for group, own in zip(groups, found, strict=True):
        result[group.rows] = own
    return result


def unit_counts(units: Sequence[Unit]) -> NDArray[np.float64]:
    """Return units' parameters and multiply-accumulates as modules, (n, 2)."""

    def rows(group: Alike) -> NDArray[np.float64]:
        counts = np.zeros((2, len(group.rows)))
        for operator in group.operators:
            counts[0] += operator.params
            counts[1] += operator.macs
        return counts.T

    return rows_of_alike(units, rows, "train")


def unit_weight_bytes(units: Sequence[Unit]) -> NDArray[np.float64]:
    """Return the bytes of units' weights as devices have them, (n, 1)."""

    def rows(group: Alike) -> NDArray[np.float64]:
        found = np.zeros(len(group.rows))
        for operator in group.operators:
            found += operator.weight_bytes
        return found[:, None]

    return rows_of_alike(units, rows)


def unit_peak_bytes(units: Sequence[Unit]) -> NDArray[np.float64]:
    """Return the most bytes of activations that are alive at once in each unit, (n, 1)."""

    def rows(group: Alike) -> NDArray[np.float64]:
        found = np.zeros(len(group.rows))
        for operator in group.operators:
            found = np.maximum(found, operator.live_bytes)
        return found[:, None]

    return rows_of_alike(units, rows)


def prepare(units: Iterable[Unit], form: str = "deploy") -> None:
    """Find the operators of many units at once, for `unit_operators` to have them ready."""
    wanted = [unit for unit in dict.fromkeys(units) if not is_prepared(unit, form)]
    found: dict[Unit, tuple[Operator, ...]] = {}
    for group in _templates[form].groups(wanted):
        columns = [_each(operator, len(group.rows)) for operator in group.operators]
        found |= zip((wanted[row] for row in group.rows), zip(*columns, strict=True), strict=True)
    keep_prepared(form, found)


def _each(operator: Operator, count: int) -> list[Operator]:
    """Return the operator of each unit."""
    o = operator
    numbers = [_list(v, count) for v in (o.macs, o.params, o.input_bytes)]
    numbers += [_list(v, count) for v in (o.weight_bytes, o.output_bytes, o.live_bytes)]
    columns = zip(
        _shapes(o.input_shape, count),
        _shapes(o.output_shape, count),
        _list(o.kernel, count),
        _list(o.groups, count),
        *numbers,
        strict=True,
    )
    return [
        Operator(o.name, o.kind, o.op, i, out, k, o.stride, g, m, p, r, w, b, o.follows, live)
        for i, out, k, g, m, p, r, w, b, live in columns
    ]


def _shapes(shape: Sequence[Any], count: int) -> list[tuple[int, ...]]:
    return list(zip(*(_list(d, count) for d in shape), strict=True)) if shape else [()] * count


def _list(value: Any, count: int) -> list[int]:
    return value.tolist() if isinstance(value, np.ndarray) else [value] * count


@dataclass(frozen=True)
class _Template:
    """The graph of a structure, its dimensions as functions of sizes.

    Attributes:
        graph: of one of the units that were traced.
        nodes: those that are operators.
        operators: of that unit.
        dimensions: of each value and constant.
        kernels: of each operator.
        groups: of each operator.
        relations: sizes that are functions of others: index, coefficients, divisor.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    operators: tuple[Operator, ...]
    dimensions: dict[str, tuple[Size, ...]]
    kernels: tuple[Size, ...]
    groups: tuple[Size, ...]
    relations: tuple[tuple[int, Integers, int], ...]

    def covers(self, widths: Integers) -> NDArray[np.bool_]:
        """Return which units (n, 1 + widths) the traced ones speak for."""
        good = np.ones(len(widths), bool)
        for index, coefficients, divisor in self.relations:
            good &= widths[:, index] * divisor == widths @ coefficients
        return good

    def __call__(self, widths: Integers, sides: Integers) -> tuple[Operator, ...]:
        """Return the operators, their numbers arrays (n,)."""
        known: dict[Dimension, Integers] = {}

        def value(of: Size) -> Any:
            if isinstance(of, int):
                return of
            if of not in known:
                known[of] = of(widths, sides)
            return known[of]

        shapes: Any = {name: tuple(map(value, dims)) for name, dims in self.dimensions.items()}
        graph = replace(self.graph, shapes=shapes)
        counted: set[str] = set()
        made = []
        for node, like, kernel, group, live in zip(
            self.nodes, self.operators, self.kernels, self.groups, live_bytes(graph), strict=True
        ):
            found = quantities(graph, node, like.kind, counted)
            of = found.input_shape, found.output_shape, value(kernel), like.stride, value(group)
            name, kind, op = like.name, like.kind, like.op
            made.append(Operator(name, kind, op, *of, *found.numbers, like.follows, live))
        return tuple(made)


class _Templates:
    """Templates of units of one form, found as they are needed."""

    def __init__(self, form: str) -> None:
        self._form = form
        self._found: dict[tuple[Any, ...], _Template | None] = {}
        self._met: Counter[tuple[Any, ...]] = Counter()

    def groups(self, units: Sequence[Unit]) -> Iterator[Alike]:
        """Yield the operators of those units that need no trace of their own."""
        structures: dict[tuple[Any, ...], list[tuple[int, Sizes]]] = defaultdict(list)
        for index, unit in enumerate(units):
            if unit.width % LATTICE == 0 and (unit.in_width % LATTICE == 0 or unit.in_width == 3):
                sizes = unit_sizes(unit)
                structures[sizes.structure].append((index, sizes))
        for structure, pairs in structures.items():
            if structure not in self._found:
                self._met[structure] += len(pairs)
                if self._met[structure] >= FEW:
                    self._found[structure] = _make(units[pairs[0][0]], self._form)
            template = self._found.get(structure)
            if template is None:
                continue
            rows = np.array([index for index, _ in pairs])
            widths = np.array([(1, *sizes.widths) for _, sizes in pairs], np.int64)
            sides = np.array([sizes.sides for _, sizes in pairs], np.int64)
            good = template.covers(widths)
            if good.any():
                yield Alike(rows[good], template(widths[good], sides[good]))


_templates = {form: _Templates(form) for form in FORMS}


def _make(unit: Unit, form: str) -> _Template | None:
    """Return the template of a unit's structure; None where its dimensions are not understood."""
    from searchspace.unit_modules import unit_graph  # torch, which some commands can do without

    count = max(_LEAST, 1 + len(unit_sizes(unit).widths) + _CHECKS)
    units = units_alike(unit, count)
    if len(units) < count:
        return None
    sizes = [unit_sizes(u) for u in units]
    widths = np.array([(1, *s.widths) for s in sizes], np.int64)
    columns, relations = independent(widths)
    graphs = [_without_values(unit_graph(u, form)) for u in units]
    lists = [graph_operators(graph) for graph in graphs]
    first, example = graphs[0], lists[0]
    nodes = tuple(node for node, _ in example)
    for graph, made in zip(graphs, lists, strict=True):
        if _structure(graph, made) != _structure(first, example):
            return None
    fit = Fit(widths, np.array([s.sides for s in sizes], np.int64), columns)
    used = (name for node in nodes for name in (*node.inputs, *node.outputs) if name)
    names = dict.fromkeys([*first.inputs, *used])
    try:
        dimensions = {
            name: tuple(map(fit, zip(*(g.shapes[name] for g in graphs), strict=True)))
            for name in names
        }
        traced = [[operator for _, operator in made] for made in lists]
        kernels = [fit(tuple(o.kernel for o in column)) for column in zip(*traced, strict=True)]
        groups = [fit(tuple(o.groups for o in column)) for column in zip(*traced, strict=True)]
    except NotAffineError:
        return None
    return _Template(
        first, nodes, tuple(traced[0]), dimensions, tuple(kernels), tuple(groups), relations
    )


def _structure(graph: Graph, made: Sequence[tuple[Node, Operator]]) -> object:
    nodes = [
        (n.op, n.inputs, n.outputs, o.name, o.kind, o.op, o.stride, o.follows) for n, o in made
    ]
    ranks = {name: len(graph.shapes[name]) for n, _ in made for name in (*n.inputs, *n.outputs)}
    return nodes, ranks, graph.constants, graph.trainable


def _without_values(graph: Graph) -> Graph:
    """Return a graph whose scalars, named by values that depend on sizes, have one name."""

    def name(old: str) -> str:
        return "scalar" if old in graph.scalars else old

    return replace(
        graph,
        nodes=[replace(n, inputs=[name(i) for i in n.inputs]) for n in graph.nodes],
        shapes={name(k): v for k, v in graph.shapes.items()},
        constants={name(c) for c in graph.constants},
    )
