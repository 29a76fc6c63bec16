"""An architecture as a sequence of units: stem, layout changes, downsamplings, blocks, head.

A unit takes the output of the one before it, but where a head uses several stages' maps: there are
laterals then, each of which takes a stage's, and a head that takes theirs.

A unit's signature says all that its module, operators and cost depend on, so that whatever is
computed for it (a trace, a price) is computed once and cached.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from searchspace.architecture import Architecture, Block, Head
from searchspace.resolution import Size, height_width, reduced
from searchspace.schema import BLOCKS, CHANNELS_FIRST, CHANNELS_LAST, CLASSIFICATION, OptionValue
from searchspace.schema import DOWNSAMPLINGS as DOWNSAMPLING_SPECS
from searchspace.schema import HEADS as HEAD_SPECS
from searchspace.schema import STEMS as STEM_SPECS

ANY_SIZE: Size = (0, 0)
"""Stands for any size where the modules alone matter: they are the same at all."""


@dataclass(frozen=True)
class Unit:
    """Signature of one part of a network.

    Attributes:
        role: stem, layout, downsample, block, lateral or head.
        type: component type; for a layout change the layout that it changes to, for a lateral its
            head's.
        in_width: input channels.
        width: output channels; of the head, the number of classes.
        size: height and width of the input in pixels or tokens.
        options: the component's options.
    """

    role: str
    type: str
    in_width: int
    width: int
    size: Size
    options: tuple[tuple[str, OptionValue], ...] = ()

    def __post_init__(self) -> None:
        # Units are dictionary keys on the search's hot path.
        key = (self.role, self.type, self.in_width, self.width, self.size, self.options)
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash  # type: ignore[attr-defined, no-any-return]

    @property
    def layout(self) -> str:
        """Layout of the unit's input."""
        if self.role == "layout":
            return CHANNELS_FIRST if self.type == CHANNELS_LAST else CHANNELS_LAST
        if self.role == "stem":
            return CHANNELS_FIRST
        specs = {"block": BLOCKS, "downsample": DOWNSAMPLING_SPECS}
        return specs.get(self.role, HEAD_SPECS)[self.type].layout

    @property
    def inputs(self) -> int:
        """How many maps of one shape it takes."""
        count = dict(self.options).get("inputs", 1) if self.role == "head" else 1
        assert isinstance(count, int)
        return count

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape of its input for one image."""
        if self.layout == CHANNELS_LAST:
            return (1, *self.size, self.in_width)
        return (1, self.in_width, *self.size)


@dataclass(frozen=True)
class PlacedUnit:
    """A unit at its place in a network.

    Attributes:
        name: as in the module tree, e.g. `stages.1.blocks.0`.
        stage: index of its stage; -1 for the stem, the number of stages for the head.
        unit: its signature.
        sources: names of the units whose outputs it takes; none for the one before it.
    """

    name: str
    stage: int
    unit: Unit
    sources: tuple[str, ...] = ()

    @property
    def is_of_stage(self) -> bool:
        """Whether it is a stage's own module."""
        return self.unit.role in ("block", "downsample")


@lru_cache(maxsize=1 << 16)
def block_unit(block: Block, width: int, size: Size, index: int) -> Unit:
    """Return the signature of the `index`-th block of a run."""
    patterns = BLOCKS[block.type].patterns
    options = tuple(
        (
            name,
            value[index % len(value)] if name in patterns and isinstance(value, tuple) else value,
        )
        for name, value in block.options
    )
    return Unit("block", block.type, width, width, size, options)


class _Map(NamedTuple):
    """A stage's map: the unit that gives it, channels, height and width, and layout."""

    name: str
    width: int
    size: Size
    layout: str


def units(architecture: Architecture, num_classes: int | None = None) -> tuple[PlacedUnit, ...]:
    """Return the parts of a network, in order of execution.

    Args:
        architecture: the network.
        num_classes: width of the logits; None for the architecture's own.
    """
    classes = num_classes or architecture.num_classes
    placed, maps = _trunk(architecture, len(architecture.stages))
    head, last, final = architecture.head, len(architecture.stages), maps[-1]
    if HEAD_SPECS[head.type].task == CLASSIFICATION:
        placed += _change("head.layout", last, final, HEAD_SPECS[head.type].layout)
        unit = Unit("head", head.type, final.width, classes, final.size, head.options)
        return (*placed, PlacedUnit("head", last, unit))
    count, stride, width = (_int(head.option[name]) for name in ("stages", "stride", "width"))
    laterals = []
    reductions = architecture.reductions[-count:]
    for number, (taken, reduction) in enumerate(zip(maps[-count:], reductions, strict=True)):
        laterals.append(f"laterals.{number}")
        change = _change(f"{laterals[-1]}.layout", last, taken, CHANNELS_FIRST)
        factor = reduction // stride
        unit = lateral_unit(head.type, taken.width, width, taken.size, factor)
        source = () if change else (taken.name,)
        placed += [*change, PlacedUnit(laterals[-1], last, unit, source)]
    size = (taken.size[0] * factor, taken.size[1] * factor)
    unit = segmentation_head_unit(head, size, classes)
    return (*placed, PlacedUnit("head", last, unit, tuple(laterals)))


def lateral_unit(type_: str, in_width: int, width: int, size: Size, factor: int) -> Unit:
    """Return the signature of what brings a stage's map to a segmentation head's width and stride.

    Args:
        type_: of the head.
        in_width: channels of the map.
        width: of the head.
        size: of the map.
        factor: by which it is enlarged.
    """
    return Unit("lateral", type_, in_width, width, size, (("factor", factor),))


def segmentation_head_unit(head: Head, size: Size, classes: int | None = None) -> Unit:
    """Return the signature of a segmentation head but for its laterals.

    Args:
        head: the head.
        size: of its maps.
        classes: width of the logits; None for its own.
    """
    own = dict(head.options)
    count, width, own_classes = (_int(own.pop(name)) for name in ("stages", "width", "classes"))
    del own["stride"]
    options = tuple(sorted({**own, "inputs": count}.items()))
    return Unit("head", head.type, width, classes or own_classes, size, options)


def feature_units(
    architecture: Architecture, stages: Sequence[int]
) -> tuple[tuple[PlacedUnit, ...], tuple[str, ...]]:
    """Return the parts that stages' maps need, and the names of those that give them.

    Args:
        architecture: the network.
        stages: indices, ascending; maps are channels-first.
    """
    placed, maps = _trunk(architecture, stages[-1] + 1)
    outputs = []
    for index in stages:
        change = _change(f"stages.{index}.layout", index, maps[index], CHANNELS_FIRST)
        outputs.append(change[0].name if change else maps[index].name)
        placed += change
    return tuple(placed), tuple(outputs)


def _change(name: str, stage: int, taken: _Map, layout: str) -> list[PlacedUnit]:
    """Return the unit that brings a stage's map to a layout; none where it has it."""
    if taken.layout == layout:
        return []
    unit = Unit("layout", layout, taken.width, taken.width, taken.size)
    return [PlacedUnit(name, stage, unit, (taken.name,))]


def _int(value: OptionValue) -> int:
    assert isinstance(value, int)
    return value


def _trunk(architecture: Architecture, count: int) -> tuple[list[PlacedUnit], list[_Map]]:
    """Return the stem's units and those of the first stages, and these stages' maps."""
    stem = architecture.stem
    placed: list[PlacedUnit] = []
    maps: list[_Map] = []
    layout = CHANNELS_FIRST
    width, size = stem.width, height_width(architecture.resolution)

    def place(name: str, stage: int, unit: Unit, leaves: str) -> None:
        nonlocal layout
        if unit.layout != layout:
            change = Unit("layout", unit.layout, unit.in_width, unit.in_width, unit.size)
            placed.append(PlacedUnit(f"{name}.layout", stage, change))
        placed.append(PlacedUnit(name, stage, unit))
        layout = leaves

    options = (("stride", stem.stride), *stem.options)
    unit = Unit("stem", stem.type, 3, stem.width, size, options)
    place("stem", -1, unit, STEM_SPECS[stem.type].layout)
    size = reduced(size, stem.stride)
    for index, stage in enumerate(architecture.stages[:count]):
        down = stage.downsample
        if down is not None:
            unit = Unit("downsample", down.type, width, stage.width, size, down.options)
            leaves = DOWNSAMPLING_SPECS[down.type].layout
            place(f"stages.{index}.downsample", index, unit, leaves)
            size = reduced(size, 2)
        width = stage.width
        number = 0
        for block in stage.blocks:
            leaves = BLOCKS[block.type].layout
            for repeat in range(block.depth):
                unit = block_unit(block, width, size, repeat)
                place(f"stages.{index}.blocks.{number}", index, unit, leaves)
                number += 1
        maps.append(_Map(placed[-1].name, width, size, layout))
    return placed, maps
