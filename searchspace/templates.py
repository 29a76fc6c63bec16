"""`Templates`: the operators of many units at once, without building and tracing each of them.

Units of one structure (a type with the options that change its graph) differ in sizes alone:
widths, sides, kernels, heads. A few of them are traced; every dimension that occurs in their graphs
is then one affine function of widths times one of the sides, found by trying which ones agree with
all the traces. Where none does, or where a unit is not like the traced ones, it is traced itself,
so that a component that is unknown here is slow and never wrong.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, repeat
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchspace.graph import Graph, Node
from searchspace.operators import (
    FORMS,
    Operator,
    graph_operators,
    is_prepared,
    keep_prepared,
    quantities,
    unit_graph,
)
from searchspace.schema import OptionValue, linear_heads, partial_width
from searchspace.units import Unit

Integers = NDArray[np.int64]

TRACED = 9  # samples of a structure: three unknowns at most are found, six checks are left
LATTICE = 8  # multiples of this are never rounded in a way that templates don't know
_DRAWS = 400
_OPTIONS: dict[str, tuple[OptionValue, ...]] = {
    "kernel": (3, 5, 7, 9),
    "expansion": (2.0, 3.0, 4.0, 5.0, 6.0),
    "heads": (1, 2, 4, 8),
    "head_dim": (8, 16, 32),
    "qk_dim": (8, 16, 24),
    "partial_ratio": (0.2, 0.25, 0.3, 0.4, 0.5),
    "conv_width": tuple(range(264, 3000, 8)),
    "linear_width": tuple(range(328, 3000, 8)),
}


@dataclass(frozen=True)
class _Sizes:
    """What of a unit is a number in its graph, and what decides which graph it is.

    Attributes:
        structure: units that agree in it have the same nodes.
        widths: numbers that dimensions are affine in.
        sides: numbers that dimensions are multiples of; the first is 1.
    """

    structure: tuple[Any, ...]
    widths: tuple[int, ...]
    sides: tuple[int, ...]


def _sizes(unit: Unit) -> _Sizes:
    options = dict(unit.options)
    fixed: dict[str, Any] = dict(options)
    widths = [unit.in_width, unit.width]
    sides = [unit.side, -(-unit.side // 2)]
    if unit.role == "stem":
        sides += [-(-unit.side // 4), -(-unit.side // 8), -(-unit.side // 16)]
        fixed["in_width"] = widths.pop(0)
    elif unit.role == "head":
        fixed["width"] = widths.pop()
        sizes = [name for name in ("conv_width", "linear_width") if name in fixed]
        widths += [_int(fixed.pop(name)) for name in sizes]
    elif unit.role == "downsample" and "expansion" in options:
        hidden = int(unit.in_width * _number(options["expansion"]))
        widths += [hidden, max(8, (hidden + 16) // 32 * 8)]  # the gate's, of `SqueezeExcite`
    elif unit.role == "block":
        widths.pop()
        _block_sizes(unit, fixed, widths)
    squares = [side**2 for side in sides]
    key = (unit.role, unit.type, tuple(sorted(fixed.items())))
    return _Sizes(key, tuple(widths), (1, *sides, *squares))


def _block_sizes(unit: Unit, fixed: dict[str, Any], widths: list[int]) -> None:
    """Move numeric options of a block from what is fixed to its widths."""
    width = unit.width
    if "kernel" in fixed:
        kernel = _int(fixed.pop("kernel"))
        widths.append(kernel)
        fixed["pointwise"] = kernel == 1
    if "expansion" in fixed and unit.type != "efficient_mod":
        expansion = _number(fixed.pop("expansion"))
        widths.append(round(width * expansion) if unit.type in _ROUNDED else int(width * expansion))
    if unit.type == "shsa":
        heads, qk = _int(fixed.pop("heads")), _int(fixed.pop("qk_dim"))
        partial = partial_width(width, _number(fixed.pop("partial_ratio")), heads)
        widths += [heads, qk, qk * heads, partial, partial // heads]
        fixed |= {"one_head": heads == 1, "whole": partial == width}
    elif unit.type == "lite_mla":
        heads, dim = linear_heads(width, _int(fixed.pop("heads")), _int(fixed.pop("head_dim")))
        widths += [heads, dim, heads * dim]
        # The order of the products, see `LiteMLA.attend`.
        fixed["many_tokens"] = unit.side**2 > dim
    elif unit.type == "efficient_mod_attention":
        heads = _int(fixed.pop("heads"))
        dim = max(width // heads, 32)
        widths += [heads, dim, heads * dim]
        fixed["narrow"] = width // heads < 32
    elif unit.type == "additive_attention":
        widths.append(width * _int(fixed.pop("heads")))


_ROUNDED = ("mbconv", "lite_mla")  # `InvertedBottleneck` rounds its hidden width


def _number(value: OptionValue) -> float:
    assert isinstance(value, int | float)
    return value


def _int(value: OptionValue) -> int:
    return int(_number(value))


@dataclass(frozen=True)
class _Dimension:
    """`sides[side] * (coefficients @ (1, *widths)) / divisor`, an integer for every unit."""

    side: int
    coefficients: Integers
    divisor: int

    def __call__(self, widths: Integers, sides: Integers) -> Integers:
        value: Integers = sides[:, self.side] * (widths @ self.coefficients) // self.divisor
        return value


@dataclass(frozen=True)
class _Template:
    """The graph of a structure, its dimensions as functions of sizes.

    Attributes:
        graph: of one of the units that were traced.
        operators: its operators.
        dimensions: of each value and constant.
        extra: kernel and groups of each operator, where they vary.
        low: least of each size among the traced.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    operators: tuple[Operator, ...]
    dimensions: dict[str, tuple[_Dimension | int, ...]]
    kernels: tuple[_Dimension | int, ...]
    groups: tuple[_Dimension | int, ...]
    relations: tuple[tuple[int, Integers, int], ...]
    """Sizes that are functions of others in this structure: index, coefficients, divisor."""

    def covers(self, widths: Integers) -> NDArray[np.bool_]:
        """Return which units (n, 1 + widths) the traced ones speak for."""
        good = np.ones(len(widths), bool)
        for index, coefficients, divisor in self.relations:
            good &= widths[:, index] * divisor == widths @ coefficients
        return good

    def __call__(self, widths: Integers, sides: Integers) -> list[tuple[Operator, ...]]:
        """Return the operators of each unit."""

        def value(of: _Dimension | int) -> Integers:
            if isinstance(of, int):
                return np.full(len(widths), of, np.int64)
            return of(widths, sides)

        shapes: dict[str, Any] = {
            name: tuple(value(d) if isinstance(d, _Dimension) else d for d in dims)
            for name, dims in self.dimensions.items()
        }
        graph = replace(self.graph, shapes=shapes)
        counted: set[str] = set()
        columns: list[list[Operator]] = []
        for node, like, kernel, group in zip(
            self.nodes, self.operators, self.kernels, self.groups, strict=True
        ):
            found = quantities(graph, node, like.kind, counted)
            macs, params, read, weights, written = (
                np.broadcast_to(number, len(widths)).tolist() for number in found.numbers
            )
            columns.append(
                list(
                    map(
                        Operator,
                        repeat(like.name),
                        repeat(like.kind),
                        repeat(like.op),
                        _rows(found.input_shape, len(widths)),
                        _rows(found.output_shape, len(widths)),
                        value(kernel).tolist(),
                        repeat(like.stride),
                        value(group).tolist(),
                        macs,
                        params,
                        read,
                        weights,
                        written,
                        repeat(like.follows),
                    )
                )
            )
        return list(zip(*columns, strict=True))


def _rows(shape: Sequence[Any], count: int) -> list[tuple[int, ...]]:
    if not shape:
        return [()] * count
    columns = [d.tolist() if isinstance(d, np.ndarray) else [d] * count for d in shape]
    return list(zip(*columns, strict=True))


class Templates:
    """Operators of units of one form.

    Attributes:
        form: `train` or `deploy`.
    """

    def __init__(self, form: str) -> None:
        self.form = form
        self._templates: dict[tuple[Any, ...], _Template | None] = {}

    def operators(self, units: Sequence[Unit]) -> list[tuple[Operator, ...] | None]:
        """Return the operators of each unit, equal to a trace's; None for what has to be traced."""
        found: list[tuple[Operator, ...] | None] = [None] * len(units)
        groups: dict[tuple[Any, ...], list[tuple[int, _Sizes]]] = defaultdict(list)
        for index, unit in enumerate(units):
            if unit.width % LATTICE == 0 and (unit.in_width % LATTICE == 0 or unit.in_width == 3):
                sizes = _sizes(unit)
                groups[sizes.structure].append((index, sizes))
        for structure, rows in groups.items():
            if structure not in self._templates:
                if len(rows) < TRACED:
                    continue  # as quickly traced
                self._templates[structure] = _make(units[rows[0][0]], self.form)
            template = self._templates[structure]
            if template is None:
                continue
            widths = np.array([(1, *sizes.widths) for _, sizes in rows], np.int64)
            sides = np.array([sizes.sides for _, sizes in rows], np.int64)
            covered = np.flatnonzero(template.covers(widths))
            made = template(widths[covered], sides[covered])
            for position, operators in zip(covered, made, strict=True):
                found[rows[position][0]] = operators
        return found


_templates = {form: Templates(form) for form in FORMS}


def prepare(units: Iterable[Unit], form: str = "deploy") -> None:
    """Find the operators of many units at once, for `unit_operators` to have them ready."""
    wanted = [unit for unit in dict.fromkeys(units) if not is_prepared(unit, form)]
    found = _templates[form].operators(wanted)
    keep_prepared(form, {u: ops for u, ops in zip(wanted, found, strict=True) if ops is not None})


def _make(unit: Unit, form: str) -> _Template | None:
    """Return the template of a unit's structure; None where its dimensions are not understood."""
    units = _alike(unit)
    if len(units) < TRACED:
        return None
    sizes = [_sizes(u) for u in units]
    widths = np.array([(1, *s.widths) for s in sizes], np.int64)
    sides = np.array([s.sides for s in sizes], np.int64)
    independent, relations = _independent(widths)
    graphs = [_without_values(unit_graph(u, form)) for u in units]
    lists = [graph_operators(graph) for graph in graphs]
    first, example = graphs[0], lists[0]
    nodes = tuple(node for node, _ in example)
    like = tuple(operator for _, operator in example)
    for graph, made in zip(graphs, lists, strict=True):
        if _structure(graph, made) != _structure(first, example):
            return None
    fit = _Fit(widths, sides, independent)
    names = {name for node in nodes for name in (*node.inputs, *node.outputs) if name}
    try:
        dimensions = {
            name: tuple(
                fit(tuple(g.shapes[name][axis] for g in graphs))
                for axis in range(len(first.shapes[name]))
            )
            for name in names
        }
        columns = [[made[i][1] for made in lists] for i in range(len(like))]
        kernels = tuple(fit(tuple(o.kernel for o in column)) for column in columns)
        groups = tuple(fit(tuple(o.groups for o in column)) for column in columns)
    except _NotAffineError:
        return None
    return _Template(first, nodes, like, dimensions, kernels, groups, relations)


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


def _alike(unit: Unit) -> list[Unit]:
    """Return units of one structure with sizes that no formula but the right one explains."""
    rng = np.random.default_rng(0)
    structure = _sizes(unit).structure
    fixed = dict(structure[-1])
    found: dict[Unit, None] = {}
    for _ in range(_DRAWS):
        if len(found) == TRACED:
            break
        width, in_width = (int(v) * LATTICE for v in rng.integers(5, 90, 2))
        if unit.role in ("block", "layout"):
            in_width = width
        options = tuple(
            (name, _OPTIONS[name][int(rng.integers(len(_OPTIONS[name])))])
            if name in _OPTIONS and name not in fixed
            else (name, value)
            for name, value in unit.options
        )
        drawn = Unit(
            unit.role,
            unit.type,
            unit.in_width if unit.role == "stem" else in_width,
            unit.width if unit.role == "head" else width,
            int(rng.integers(3, 70)) * (4 if unit.role == "stem" else 1),
            options,
        )
        if _sizes(drawn).structure == structure:
            found[drawn] = None
    return list(found)


def _independent(
    widths: Integers,
) -> tuple[list[int], tuple[tuple[int, Integers, int], ...]]:
    """Return the columns that are no function of those before them, and what the others are."""
    kept: list[int] = []
    relations = []
    for column in range(widths.shape[1]):
        if kept:
            solved = _solve(widths[:, kept], widths[:, column])
            if solved is not None:
                coefficients = np.zeros(widths.shape[1], np.int64)
                coefficients[kept] = solved[0]
                relations.append((column, coefficients, solved[1]))
                continue
        kept.append(column)
    return kept, tuple(relations)


class _NotAffineError(Exception):
    pass


class _Fit:
    """Finds the function of sizes that gives some numbers, one for each traced unit."""

    def __init__(self, widths: Integers, sides: Integers, columns: Sequence[int]) -> None:
        self._widths, self._sides = widths, sides
        others = [c for c in columns if c]
        # Simple explanations first: nothing, one size, then with a constant, then two sizes.
        self._supports = [
            [0],
            *([c] for c in others),
            *([0, c] for c in others),
            *(list(pair) for pair in combinations(others, 2)),
            *([0, *pair] for pair in combinations(others, 2)),
        ]
        self._known: dict[tuple[int, ...], _Dimension | int] = {}

    def __call__(self, numbers: tuple[int, ...]) -> _Dimension | int:
        """Return the function.

        Raises:
            _NotAffineError: where there is none.
        """
        if len(set(numbers)) == 1:
            return numbers[0]
        if numbers not in self._known:
            self._known[numbers] = self._find(np.array(numbers, np.int64))
        return self._known[numbers]

    def _find(self, numbers: Integers) -> _Dimension:
        for support in self._supports:
            for side in range(self._sides.shape[1]):
                scale = self._sides[:, side]
                solved = _solve(scale[:, None] * self._widths[:, support], numbers)
                if solved is not None:
                    coefficients = np.zeros(self._widths.shape[1], np.int64)
                    coefficients[support] = solved[0]
                    return _Dimension(side, coefficients, solved[1])
        raise _NotAffineError


def _solve(matrix: Integers, numbers: Integers) -> tuple[Integers, int] | None:
    """Return integers c and d with `matrix @ c == d * numbers` in every row, if there are any."""
    found = np.linalg.lstsq(matrix.astype(float), numbers.astype(float), rcond=None)[0]
    if np.abs(matrix @ found - numbers).max() > 1e-6 * max(1.0, float(np.abs(numbers).max())):
        return None
    for divisor in (1, 2, 4, 8, 16):
        scaled = np.rint(found * divisor).astype(np.int64)
        if scaled.any() and (matrix @ scaled == divisor * numbers).all():
            return scaled // math.gcd(1, divisor), divisor
    return None
