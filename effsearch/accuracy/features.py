"""What an accuracy estimate sees of a network: totals that add up over its units, and its shape.

Totals are summed from cached vectors of its units, so that an architecture costs microseconds; the
shape is a function of the totals alone, for one network or for a whole population at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from searchspace import Architecture
from searchspace.operators import unit_operators
from searchspace.schema import BLOCKS, FAMILIES, OptionValue, linear_heads, partial_width
from searchspace.units import Unit, units

Array = NDArray[np.float64]
OptionRanges = Mapping[str, Mapping[str, Sequence[float]]]

SIDES = (40, 20, 10, 5)  # feature maps above 40 tokens a side, above 20, above 10, above 5, others
BINS = len(SIDES) + 1

TOTALS = (
    "gmacs",
    "mparams",
    "mactivations",
    "stem.gmacs",
    "head.gmacs",
    "head.mparams",
    *(f"{family}.gmacs" for family in FAMILIES),
    *(f"{family}.depth" for family in FAMILIES),
    "attention.depth",
    *(f"bin{i}.gmacs" for i in range(BINS)),
    "log2_width.sum",
    "log2_side.sum",
    "downsamples",
    "widening.octaves",
    "option.octaves",
    "stem.log2_stride",
    "stem.log2_width",
    "last.log2_side",
    "last.log2_width",
)
"""Names of a network's totals; `depth` counts blocks, octaves are factors of two."""

SHAPE = (
    "size",
    "params_per_mac",
    "activations_per_mac",
    "depth",
    "width",
    "early",
    "evenness",
    "tokens",
    "attention",
    "stem_share",
    "head_share",
    "last_side",
    "last_width",
    "widening",
    "options",
)
"""Names of the columns of `shape`."""

_INDEX = {name: i for i, name in enumerate(TOTALS)}
_FAMILY_GMACS = slice(_INDEX[f"{FAMILIES[0]}.gmacs"], _INDEX[f"{FAMILIES[-1]}.gmacs"] + 1)
_FAMILY_DEPTH = slice(_INDEX[f"{FAMILIES[0]}.depth"], _INDEX[f"{FAMILIES[-1]}.depth"] + 1)
_BINS = slice(_INDEX["bin0.gmacs"], _INDEX["bin0.gmacs"] + BINS)
_BIN_NUMBERS = np.arange(float(BINS))
_WEIGHTED = ("conv", "pointwise_conv", "depthwise_conv", "grouped_conv", "linear", "matmul")
_DEPTH_EXPONENT = 0.36  # published depths grow as MACs^0.36, within each family and over all
_WIDTH_EXPONENT = 0.30
WIDENING = (0.0, 1.5)  # octaves by which a downsampling widens; published: 0.19 to 1.27


def unit_totals(unit: Unit, ranges: OptionRanges) -> Array:
    """Return what a unit adds to the totals, shape (len(TOTALS),).

    Args:
        unit: its signature.
        ranges: published range of each block type's options and head width (`option_ranges`).
    """
    operators = unit_operators(unit, "deploy")
    gmacs = sum(o.macs for o in operators) / 1e9
    total = np.zeros(len(TOTALS))

    def add(name: str, amount: float) -> None:
        total[_INDEX[name]] += amount

    add("gmacs", gmacs)
    add("mparams", sum(o.params for o in operators) / 1e6)
    activations = sum(math.prod(o.output_shape) for o in operators if o.kind in _WEIGHTED)
    add("mactivations", activations / 1e6)
    options = dict(unit.options)
    if unit.role == "stem":
        add("stem.gmacs", gmacs)
        add("stem.log2_stride", math.log2(_number(options["stride"])))
        add("stem.log2_width", math.log2(unit.width))
    elif unit.role == "head":
        add("head.gmacs", gmacs)
        add("head.mparams", sum(o.params for o in operators) / 1e6)
        add("last.log2_side", math.log2(unit.side))
        add("last.log2_width", math.log2(unit.in_width))
    elif unit.role == "downsample":
        add(f"bin{_bin(-(-unit.side // 2))}.gmacs", gmacs)
        add("downsamples", 1)
        add("widening.octaves", outside(math.log2(unit.width / unit.in_width), WIDENING))
    elif unit.role == "block":
        spec = BLOCKS[unit.type]
        add(f"{spec.family}.gmacs", gmacs)
        add(f"{spec.family}.depth", 1)
        add("attention.depth", float(spec.attention))
        add(f"bin{_bin(unit.side)}.gmacs", gmacs)
        add("log2_width.sum", math.log2(unit.width))
        add("log2_side.sum", math.log2(unit.side))
        add("option.octaves", _option_octaves(unit, ranges))
    return total


class Features:
    """Totals of architectures, with a cache of their units' parts.

    Attributes:
        ranges: published range of each block type's options.
    """

    def __init__(self, ranges: OptionRanges) -> None:
        self.ranges = ranges
        self._cache: dict[Unit, Array] = {}

    def __call__(self, architecture: Architecture) -> Array:
        """Return an architecture's totals, shape (len(TOTALS),)."""
        total: Array = np.add.reduce([self.of_unit(p.unit) for p in units(architecture)])
        return total

    def of_unit(self, unit: Unit) -> Array:
        """Return one unit's part of the totals; computed once."""
        row = self._cache.get(unit)
        if row is None:
            row = self._cache[unit] = unit_totals(unit, self.ranges)
        return row


def family_shares(totals: Array) -> Array:
    """Return each family's share of networks, (n, 4): the mean of its MACs' and blocks' shares."""
    macs, depth = totals[:, _FAMILY_GMACS], totals[:, _FAMILY_DEPTH]
    shares: Array = macs / macs.sum(1, keepdims=True) + depth / depth.sum(1, keepdims=True)
    return shares / 2


def shape(totals: Array) -> Array:
    """Return the shape of networks.

    Depth and width are relative to what the published networks of that many MACs have, so that
    thin and deep or wide and shallow networks stand out at any size.

    Args:
        totals: of n networks, (n, len(TOTALS)).

    Returns:
        Array (n, len(SHAPE)): log GMACs; log of parameters, and of activations, per MAC; log depth
        and log2 width relative to size; where the MACs sit (mean bin of resolution) and how evenly
        (exponential of the entropy over bins); mean log2 side of the blocks; share of blocks with
        attention; shares of the stem and the head in the MACs; log2 side and width of the last
        stage; octaves by which downsamplings widen, and by which options leave, what is published.
    """
    columns = dict(zip(TOTALS, totals.T, strict=True))
    logs = np.log(totals[:, :3])
    log_gmacs = logs[:, 0]
    usual_log2_width = _WIDTH_EXPONENT / math.log(2) * log_gmacs
    depth = totals[:, _FAMILY_DEPTH].sum(1)
    bins = totals[:, _BINS]
    bins = bins / bins.sum(1, keepdims=True)
    gmacs = columns["gmacs"]
    out = np.empty((len(totals), len(SHAPE)))
    out[:, 0] = log_gmacs
    out[:, 1] = logs[:, 1] - log_gmacs
    out[:, 2] = logs[:, 2] - log_gmacs
    out[:, 3] = np.log(depth) - _DEPTH_EXPONENT * log_gmacs
    out[:, 4] = columns["log2_width.sum"] / depth - usual_log2_width
    out[:, 5] = bins @ _BIN_NUMBERS
    out[:, 6] = np.exp(-(bins * np.log(np.maximum(bins, 1e-12))).sum(1))
    out[:, 7] = columns["log2_side.sum"] / depth
    out[:, 8] = columns["attention.depth"] / depth
    out[:, 9] = columns["stem.gmacs"] / gmacs
    out[:, 10] = columns["head.gmacs"] / gmacs
    out[:, 11] = columns["last.log2_side"]
    out[:, 12] = columns["last.log2_width"] - usual_log2_width
    out[:, 13] = columns["widening.octaves"]
    out[:, 14] = columns["option.octaves"] / depth
    return out


def option_ranges(architectures: Sequence[Architecture]) -> dict[str, dict[str, list[float]]]:
    """Return the range of each numeric option, and of the width of a head, by block type."""
    ranges: dict[str, dict[str, list[float]]] = {}
    for architecture in architectures:
        for placed in units(architecture):
            if placed.unit.role != "block":
                continue
            row = ranges.setdefault(placed.unit.type, {})
            for name, value in block_options(placed.unit).items():
                low, high = row.get(name, [value, value])
                row[name] = [min(low, value), max(high, value)]
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


def _option_octaves(unit: Unit, ranges: OptionRanges) -> float:
    known = ranges.get(unit.type, {})
    octaves = 0.0
    for name, value in block_options(unit).items():
        if name in known:
            octaves += outside(math.log2(value), [math.log2(v) for v in known[name]])
    return octaves


def _number(value: OptionValue) -> float:
    if isinstance(value, tuple):
        return sum(value) / len(value)
    return float(value)


def _bin(side: int) -> int:
    return sum(side <= edge for edge in SIDES)
