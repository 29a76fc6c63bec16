"""Which shared tensor each weight of a unit is a slice of, and where in it.

A unit's weights are sliced from the tensors of its *slot*: the stem of a type, the downsampling of
a type into a stage position, the n-th block of a type in a stage position, the head of a type
after a number of stages. Along most dimensions the slice is the leading part, so that a narrow
network uses the first channels of a wide one. Dimensions that concatenate several things (queries,
keys and values; scales; repeated groups) are sliced thing by thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from searchspace.block_type import Share
from searchspace.errors import UserError
from searchspace.schema import BLOCKS, OptionValue
from searchspace.units import PlacedUnit, Unit

_BEHIND = "behind_"


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
    """Return where a weight of a unit comes from.

    Raises:
        UserError: where its block type has no sharing rule.
    """
    options = dict(unit.options)
    if unit.role == "stem":
        return Share(_stem_key(unit.type, options, key))
    if unit.role != "block":
        return Share(key)
    rule = BLOCKS[unit.type].sharing
    if rule is None:
        raise UserError(
            f"blocks.{unit.type}: its type has no sharing rule, which a supernet needs; leave it "
            "out of the space, or have its package declare `sharing`"
        )
    return rule(unit.width, options, key)


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
