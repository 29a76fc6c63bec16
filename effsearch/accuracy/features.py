"""What the ImageNet estimate sees of a network: totals that add up over its operators and units.

An architecture's totals are the sum of cached vectors of its units, so that one costs microseconds;
a foreign network's come from its operators alone. `columns` turns totals into the terms of the
model, for one network or a whole population at once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from searchspace import Architecture
from searchspace.operators import Operator
from searchspace.schema import BLOCKS, OptionValue, linear_heads, partial_width
from searchspace.templates import Alike, rows_of_alike
from searchspace.units import Unit, units

Array = NDArray[np.float64]
OptionRanges = Mapping[str, Sequence[float]]

FAMILIES = ("SHViT", "EfficientMod", "SwiftFormer", "EfficientViT")
"""Families whose level the 16 published networks give; a block of another counts as `other`."""

CLASSES = 1000  # of ImageNet-1k

TOTALS = (
    "gmacs",
    "mparams",
    "mactivations",
    "layers",
    "mixers",
    "mixers.log2_kernel",
    "layers.gmacs",
    "layers.gmacs.log2_side",
    "layers.gmacs.log2_side_squared",
    "stem.gmacs",
    "stem.log2_side",
    "head.gmacs",
    "head.mparams",
    "classifier.log2_width",
    "last.log2_side",
    "blocks",
    "blocks.log2_side",
    "blocks.log2_side_squared",
    "attention",
    "attention.log2_side",
    "widening.octaves",
    "option.octaves_below",
    "option.octaves_above",
    *(f"{family}.gmacs" for family in (*FAMILIES, "other")),
    *(f"{family}.blocks" for family in (*FAMILIES, "other")),
)
"""Names of a network's totals.

`layers` are convolutions and linear layers over more than one token, `mixers` those of them that
mix neighbours (kernels above 1); `attention` counts blocks by how much of their channels attend.
Octaves are factors of two; `stem.log2_side` is the image's side.
"""

_INDEX = {name: i for i, name in enumerate(TOTALS)}
_FAMILY_GMACS = slice(_INDEX["SHViT.gmacs"], _INDEX["other.gmacs"] + 1)
_FAMILY_BLOCKS = slice(_INDEX["SHViT.blocks"], _INDEX["other.blocks"] + 1)
_WEIGHTED = ("conv", "pointwise_conv", "depthwise_conv", "grouped_conv", "linear")
_PRODUCTS = ("matmul", "attention")
_ATTENDED_POWER = 0.4
_LARGEST_KERNEL = 7  # larger ones gain nothing that is published here
WIDENING = (0.0, 1.6)  # octaves by which a downsampling widens; published: 0.19 to 1.27


def operator_totals(operators: Iterable[Operator], count: int) -> Array:
    """Return what operators add to the totals, wherever they are.

    Args:
        operators: of units that differ in numbers alone, which are arrays (count,) then.
        count: of the units.

    Returns:
        Array of shape (len(TOTALS), count).
    """
    total = np.zeros((len(TOTALS), count))
    for operator in operators:
        total[_INDEX["gmacs"]] += operator.macs / 1e9
        total[_INDEX["mparams"]] += operator.params / 1e6
        if operator.kind in _WEIGHTED or operator.kind in _PRODUCTS:
            total[_INDEX["mactivations"]] += math.prod(operator.output_shape) / 1e6
        if operator.kind not in _WEIGHTED:
            continue
        tokens = _tokens(operator)
        spatial = tokens > 1
        log2_side = np.log2(np.maximum(tokens, 1)) / 2
        gmacs = spatial * (operator.macs / 1e9)
        total[_INDEX["layers"]] += spatial
        total[_INDEX["layers.gmacs"]] += gmacs
        total[_INDEX["layers.gmacs.log2_side"]] += gmacs * log2_side
        total[_INDEX["layers.gmacs.log2_side_squared"]] += gmacs * log2_side**2
        mixes = spatial & (operator.kernel > 1)
        kernel = np.clip(operator.kernel, 1, _LARGEST_KERNEL)
        total[_INDEX["mixers"]] += mixes
        total[_INDEX["mixers.log2_kernel"]] += mixes * np.log2(kernel)
    return total


def units_totals(units: Sequence[Unit], ranges: OptionRanges) -> Array:
    """Return what units add to the totals, shape (n, len(TOTALS)).

    Args:
        units: their signatures.
        ranges: published range of each block option, by its name in `block_options`.
    """

    def rows(group: Alike) -> Array:
        totals = operator_totals(group.operators, len(group.rows)).T
        weighted = [o for o in group.operators if o.kind in _WEIGHTED]
        width = np.broadcast_to(_input_width(weighted[-1]) if weighted else 0, len(totals))
        for row, index in enumerate(group.rows):
            _add_unit(totals[row], units[index], int(width[row]), ranges)
        return totals

    return rows_of_alike(units, rows)


def _add_unit(total: Array, unit: Unit, classifier_width: int, ranges: OptionRanges) -> None:
    """Add to a unit's totals what its operators do not say."""
    gmacs = total[_INDEX["gmacs"]]

    def add(name: str, amount: float) -> None:
        total[_INDEX[name]] += amount

    if unit.role == "stem":
        add("stem.gmacs", gmacs)
        add("stem.log2_side", log2_side(unit))
    elif unit.role == "head":
        add("head.gmacs", gmacs)
        add("head.mparams", total[_INDEX["mparams"]])
        add("last.log2_side", log2_side(unit))
        add("classifier.log2_width", math.log2(classifier_width))
    elif unit.role == "downsample":
        add("widening.octaves", outside(math.log2(unit.width / unit.in_width), WIDENING))
    elif unit.role == "block":
        spec = BLOCKS[unit.type]
        family = spec.family if spec.family in FAMILIES else "other"
        add(f"{family}.gmacs", gmacs)
        add(f"{family}.blocks", 1)
        side = log2_side(unit)
        add("blocks", 1)
        add("blocks.log2_side", side)
        add("blocks.log2_side_squared", side**2)
        values = block_options(unit)
        if spec.attention:
            amount = attention_amount(values.get("partial_ratio", 1.0))
            add("attention", amount)
            add("attention.log2_side", amount * side)
        for name, value in values.items():
            if name in ranges and value > 0:
                low, high = (math.log2(v) for v in ranges[name])
                add("option.octaves_below", max(low - math.log2(value), 0.0))
                add("option.octaves_above", max(math.log2(value) - high, 0.0))


def log2_side(unit: Unit) -> float:
    """Return the binary logarithm of a unit's side, the geometric mean of height and width."""
    height, width = unit.size
    return (math.log2(height) + math.log2(width)) / 2


def attention_amount(attended: float) -> float:
    """Return how much a block attends, 1 where all its channels do.

    Grows ever slower, as SHViT's ablation does (arXiv 2401.16456, table 6: top-1 without attention,
    with 1/8, 1/4.67 and all of the channels).
    """
    return float(attended**_ATTENDED_POWER)


def graph_totals(operators: Sequence[Operator], side: int, classes: int = CLASSES) -> Array:
    """Return the totals of any classifier from its operators, shape (len(TOTALS),).

    What a graph doesn't say is put at what is usual: a block has four layers, every block with a
    product of two activations attends with all its channels, and options are within range. Its
    last layer is counted as if it had ImageNet's classes.

    Args:
        operators: of the whole network, form "deploy".
        side: of the image, in pixels; the geometric mean of height and width.
        classes: that it tells apart.

    Raises:
        ValueError: where no layer works on more than one token.
    """
    total = operator_totals(operators, 1)[:, 0]
    spatial = [o for o in operators if o.kind in _WEIGHTED and _tokens(o) > 1]
    if not spatial:
        raise ValueError("no layer works on more than one token")
    sides = [math.log2(_tokens(o)) / 2 for o in spatial]
    head = operators[_head_start(operators) :]
    classifier = [o for o in operators if o.kind in _WEIGHTED][-1]
    more = CLASSES / classes - 1
    gmacs, mparams = more * classifier.macs / 1e9, more * classifier.params / 1e6
    products = [o for o in operators if o.kind in _PRODUCTS]
    values = {
        "gmacs": gmacs,
        "mparams": mparams,
        "stem.gmacs": spatial[0].macs / 1e9,
        "stem.log2_side": math.log2(side),
        "head.gmacs": sum(o.macs for o in head) / 1e9 + gmacs,
        "head.mparams": sum(o.params for o in head) / 1e6 + mparams,
        "classifier.log2_width": math.log2(_input_width(classifier)),
        "last.log2_side": math.log2(_tokens(spatial[-1])) / 2,
        "blocks": total[_INDEX["layers"]] / 4,
        "blocks.log2_side": sum(sides) / 4,
        "blocks.log2_side_squared": sum(side**2 for side in sides) / 4,
        "attention": len(products) / 2,
        "attention.log2_side": sum(math.log2(max(o.output_shape[-2:])) for o in products) / 4,
    }
    for name, value in values.items():
        total[_INDEX[name]] += value
    total[_INDEX["other.gmacs"]] = total[_INDEX["gmacs"]]
    total[_INDEX["other.blocks"]] = total[_INDEX["blocks"]]
    return total


class Features:
    """Totals of architectures, with a cache of their units' parts.

    Attributes:
        ranges: published range of each block option.
    """

    def __init__(self, ranges: OptionRanges) -> None:
        self.ranges = ranges
        self._cache: dict[Unit, Array] = {}

    def __call__(self, architecture: Architecture) -> Array:
        """Return an architecture's totals, shape (len(TOTALS),)."""
        found = [placed.unit for placed in units(architecture)]
        fresh = [unit for unit in dict.fromkeys(found) if unit not in self._cache]
        if fresh:
            self._cache |= zip(fresh, units_totals(fresh, self.ranges), strict=True)
        total: Array = np.add.reduce([self._cache[unit] for unit in found])
        return total


def family_shares(totals: Array) -> Array:
    """Return shares of `FAMILIES` and others, (n, 5): the mean of those of MACs and of blocks."""
    macs, blocks = totals[:, _FAMILY_GMACS], totals[:, _FAMILY_BLOCKS]
    shares: Array = macs / macs.sum(1, keepdims=True) + blocks / blocks.sum(1, keepdims=True)
    return shares / 2


def option_ranges(architectures: Iterable[Architecture]) -> dict[str, list[float]]:
    """Return the range of each numeric block option over networks, by its name."""
    ranges: dict[str, list[float]] = {}
    for architecture in architectures:
        for placed in units(architecture):
            if placed.unit.role == "block":
                for name, value in block_options(placed.unit).items():
                    low, high = ranges.get(name, [value, value])
                    ranges[name] = [min(low, value), max(high, value)]
    return ranges


def block_options(unit: Unit) -> dict[str, float]:
    """Return a block's numeric options.

    Heads count as the channels of one (`head_width`); where they need not fill the width, the
    share of it that they attend to is another (`attended`).
    """
    options = dict(unit.options)
    values: dict[str, float] = {}
    for name, value in options.items():
        if name not in ("heads", "head_dim"):
            values[name] = _number(value)
    if unit.type == "lite_mla":
        heads, dim = linear_heads(
            unit.width, int(_number(options["heads"])), int(_number(options["head_dim"]))
        )
        values["head_width"] = dim
        values["attended"] = heads * dim / unit.width
    elif "partial_ratio" in options:
        heads = int(_number(options["heads"]))
        attended = partial_width(unit.width, _number(options["partial_ratio"]), heads)
        values["head_width"] = attended / heads
    elif "heads" in options:
        values["head_width"] = unit.width / _number(options["heads"])
    return values


def outside(value: float, interval: Sequence[float]) -> float:
    """Return how far a value lies outside an interval, 0 inside."""
    return max(interval[0] - value, value - interval[1], 0.0)


def _head_start(operators: Sequence[Operator]) -> int:
    """Return where the head begins: after the last sum, product or kernel above 1."""
    for i in range(len(operators) - 1, -1, -1):
        operator = operators[i]
        added = operator.op == "Add" and operator.input_bytes >= 2 * operator.output_bytes
        wide = operator.kind in _WEIGHTED and operator.kernel > 1
        if operator.kind in _PRODUCTS or added or wide:
            return i + 1
    return 0


def _tokens(operator: Operator) -> int:
    shape = operator.output_shape
    if operator.op == "Conv":
        return math.prod(shape[2:])
    return math.prod(shape[:-1])


def _input_width(operator: Operator) -> int:
    return operator.input_shape[1 if operator.op == "Conv" else -1]


def _number(value: OptionValue) -> float:
    if isinstance(value, tuple):
        return sum(value) / len(value)
    return float(value)
