"""What of a unit is a number in its graph, and which units share one graph but for such numbers.

Only what a component rounds or branches by is written here; `searchspace.templates` checks it
against traces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from searchspace.resolution import reduced
from searchspace.schema import OptionValue, linear_heads, partial_width
from searchspace.units import Unit

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
class Sizes:
    """What of a unit is a number in its graph, and what decides which graph it is.

    Attributes:
        structure: units that agree in it have the same nodes.
        widths: numbers that dimensions are affine in.
        sides: numbers that dimensions are multiples of: 1, then heights, widths and areas of maps.
    """

    structure: tuple[Any, ...]
    widths: tuple[int, ...]
    sides: tuple[int, ...]


def unit_sizes(unit: Unit) -> Sizes:
    """Return a unit's sizes."""
    options = dict(unit.options)
    fixed: dict[str, Any] = dict(options)
    widths = [unit.in_width, unit.width]
    strides = {"stem": (1, 2, 4, 8, 16), "downsample": (1, 2)}.get(unit.role, (1,))
    if unit.role == "stem":
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
    maps = [reduced(unit.size, stride) for stride in strides]
    sides = [n for height, width in maps for n in (height, width, height * width)]
    key = (unit.role, unit.type, tuple(sorted(fixed.items())))
    return Sizes(key, tuple(widths), (1, *sides))


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
        fixed["many_tokens"] = unit.size[0] * unit.size[1] > dim
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


def units_alike(unit: Unit, count: int) -> list[Unit]:
    """Return units of one structure with sizes that no formula but the right one explains."""
    rng = np.random.default_rng(0)
    structure = unit_sizes(unit).structure
    fixed = dict(structure[-1])
    most = 70 if fixed.get("many_tokens", True) else 8
    found: dict[Unit, None] = {}
    for _ in range(_DRAWS):
        if len(found) == count:
            break
        width, in_width = (int(v) * LATTICE for v in rng.integers(5, 90, 2))
        pixels = 4 if unit.role == "stem" else 1
        height, across = (int(v) * pixels for v in rng.integers(2, most, 2))
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
            (height, across),
            options,
        )
        if unit_sizes(drawn).structure == structure:
            found[drawn] = None
    return list(found)
