"""Which shared tensor each weight of a unit is a slice of, and where in it.

A unit's weights are sliced from the tensors of its *slot*: the stem of a type, the downsampling of
a type into a stage position, the n-th block of a type in a stage position, the head of a type
after a number of stages. Along most dimensions the slice is the leading part, so that a narrow
network uses the first channels of a wide one. Dimensions that concatenate several things (queries,
keys and values; scales; repeated groups) are sliced thing by thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from searchspace.schema import OptionValue, linear_heads, partial_width
from searchspace.units import PlacedUnit, Unit


@dataclass(frozen=True)
class Piece:
    """Consecutive indices of a dimension.

    Attributes:
        part: label of the thing that they belong to; parts lie one after the other.
        start: the first index inside that thing.
        size: how many.
    """

    part: str
    start: int
    size: int


Pieces = tuple[Piece, ...]
_BEHIND = "behind_"


@dataclass(frozen=True)
class Share:
    """Where a weight comes from.

    Attributes:
        key: name of the shared tensor inside the slot.
        dim: the dimension that `pieces` describes; all others are leading slices, but the sides of
            kernels, which are centre crops.
        pieces: None where every dimension is an ordinary one.
    """

    key: str
    dim: int = 0
    pieces: Pieces | None = None


def slot_name(placed: PlacedUnit, index: int, stage_count: int) -> str:
    """Return the slot of a unit; `index` counts a stage's blocks of the unit's type."""
    unit = placed.unit
    if unit.role == "stem":
        return f"stem.{unit.type}"
    if unit.role == "head":
        return f"head.{unit.type}.after{stage_count}"
    if unit.role == "downsample":
        return f"stage{placed.stage}.downsample.{unit.type}"
    return f"stage{placed.stage}.{unit.type}.{index}"


def apart(slot: str, stem: str) -> str:
    """Return a slot's name where stem types share nothing behind the stem."""
    return slot if slot.startswith("stem.") else f"{slot}.{_BEHIND}{stem}"


def are_apart(names: Iterable[str]) -> bool:
    """Say whether shared tensors of these names are of a supernet whose stems share nothing."""
    return any(f".{_BEHIND}" in name for name in names)


def share(unit: Unit, key: str) -> Share:
    """Return where a weight of a unit comes from."""
    options = dict(unit.options)
    if unit.role == "stem":
        return Share(_stem_key(unit.type, options, key))
    rule = _RULES.get(unit.type) if unit.role == "block" else None
    return Share(key) if rule is None else rule(unit.width, options, key)


def _stem_key(type_: str, options: Mapping[str, OptionValue], key: str) -> str:
    """Align stems of several strides at their last layer; the first one sees the image."""
    if type_ == "efficientmod":
        return key
    stride = options["stride"]
    assert isinstance(stride, int)
    steps = stride.bit_length() - 1
    number, rest = key.split(".", 1)
    layer = int(number)
    if layer >= steps:
        return f"block{layer - steps}.{rest}"
    return f"first{steps}.{rest}" if layer == 0 else f"last{steps - 1 - layer}.{rest}"


def _shsa(width: int, options: Mapping[str, OptionValue], key: str) -> Share:
    if not key.startswith("mixer.branch.qkv.") or key.endswith("num_batches_tracked"):
        return Share(key)
    heads, ratio, qk_dim = options["heads"], options["partial_ratio"], options["qk_dim"]
    assert isinstance(heads, int)
    assert isinstance(ratio, int | float)
    assert isinstance(qk_dim, int)
    queries = heads * qk_dim
    values = partial_width(width, ratio, heads)
    return Share(key, 0, (Piece("q", 0, queries), Piece("k", 0, queries), Piece("v", 0, values)))


def _lite_mla(width: int, options: Mapping[str, OptionValue], key: str) -> Share:
    heads, head_dim, scales = options["heads"], options["head_dim"], options["scales"]
    assert isinstance(heads, int)
    assert isinstance(head_dim, int)
    assert isinstance(scales, tuple)
    heads, head_dim = linear_heads(width, heads, head_dim)
    # Queries, keys and values alternate from head to head. Slicing them by channel, not by head,
    # lets all head counts share all channels.
    by_head = tuple(
        Piece(part, head * head_dim, head_dim) for head in range(heads) for part in "qkv"
    )
    names = _scale_names(scales)
    if key == "context.branch.qkv.weight":
        return Share(key, 0, by_head)
    found = re.fullmatch(r"context\.branch\.aggregations\.(\d+)\.(\d)\.weight", key)
    if found:
        scale = names[int(found[1])]
        return Share(f"context.branch.aggregations.{scale}.{found[2]}.weight", 0, by_head)
    if key == "context.branch.project.conv.weight":
        inner = heads * head_dim
        return Share(key, 1, tuple(Piece(name, 0, inner) for name in ("own", *names)))
    return Share(key)


def _scale_names(scales: tuple[int, ...]) -> list[str]:
    return [f"scale{s}x{scales[:i].count(s)}" for i, s in enumerate(scales)]


def _efficient_mod(width: int, options: Mapping[str, OptionValue], key: str) -> Share:
    expansion = options["expansion"]
    assert isinstance(expansion, int)
    groups = tuple(Piece(f"group{group}", 0, width) for group in range(expansion))
    if key in ("value.weight", "value.bias"):
        return Share(key, 0, groups)
    return Share(key, 1, groups) if key == "project.weight" else Share(key)


def _efficient_mod_attention(width: int, options: Mapping[str, OptionValue], key: str) -> Share:
    heads = options["heads"]
    assert isinstance(heads, int)
    inner = heads * max(width // heads, 32)
    if key == "attention.qkv.weight":
        return Share(key, 0, tuple(Piece(part, 0, inner) for part in "qkv"))
    return Share(key)


_RULES = {
    "shsa": _shsa,
    "lite_mla": _lite_mla,
    "efficient_mod": _efficient_mod,
    "efficient_mod_attention": _efficient_mod_attention,
}
