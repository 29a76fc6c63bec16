"""An architecture as a sequence of units: stem, layout changes, downsamplings, blocks, head.

A unit's signature says all that its module, operators and cost depend on, so that whatever is
computed for it (a trace, a price) is computed once and cached.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from torch import nn

from searchspace import (  # noqa: F401  (registers the components)
    downsampling,
    heads,
    stems,
)
from searchspace.architecture import Architecture, Block
from searchspace.layers import ToLayout
from searchspace.registry import DOWNSAMPLINGS, HEADS, STEMS
from searchspace.resolution import Size, height_width, reduced
from searchspace.schema import BLOCKS, CHANNELS_FIRST, CHANNELS_LAST, OptionValue
from searchspace.schema import DOWNSAMPLINGS as DOWNSAMPLING_SPECS
from searchspace.schema import HEADS as HEAD_SPECS
from searchspace.schema import STEMS as STEM_SPECS
from searchspace.start import clear_biases

ANY_SIZE: Size = (0, 0)
"""Stands for any size where the modules alone matter: they are the same at all."""


@dataclass(frozen=True)
class Unit:
    """Signature of one part of a network.

    Attributes:
        role: stem, layout, downsample, block or head.
        type: component type; for a layout change the layout that it changes to.
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
        specs = {"block": BLOCKS, "downsample": DOWNSAMPLING_SPECS, "head": HEAD_SPECS}
        return specs[self.role][self.type].layout

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
    """

    name: str
    stage: int
    unit: Unit


def make_unit(unit: Unit) -> nn.Module:
    """Return a fresh module for a unit, begun by the law of `searchspace.start`."""
    module = _module(unit)
    clear_biases(module)
    return module


def _module(unit: Unit) -> nn.Module:
    options = dict(unit.options)
    if unit.role == "layout":
        return ToLayout(unit.type)
    if unit.role == "stem":
        return STEMS[unit.type](unit.width, **options)
    if unit.role == "downsample":
        return DOWNSAMPLINGS[unit.type](unit.in_width, unit.width, **options)
    if unit.role == "head":
        return HEADS[unit.type](unit.in_width, unit.width, **options)
    return BLOCKS[unit.type].make(unit.width, max(unit.size), **options)


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


def units(architecture: Architecture, num_classes: int = 1000) -> tuple[PlacedUnit, ...]:
    """Return the parts of a network, in order of execution."""
    stem = architecture.stem
    placed: list[PlacedUnit] = []
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
    for index, stage in enumerate(architecture.stages):
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
    head = architecture.head
    last = len(architecture.stages)
    unit = Unit("head", head.type, width, num_classes, size, head.options)
    place("head", last, unit, HEAD_SPECS[head.type].layout)
    return tuple(placed)
