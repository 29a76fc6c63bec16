"""The slots of a space: which units may stand in each, and the shared tensors that they need."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

import torch

from searchspace.errors import UserError
from searchspace.schema import BLOCKS, DOWNSAMPLINGS, HEADS, STEMS, ComponentSpec, OptionValue
from searchspace.space import SearchSpace
from searchspace.space_file import NONE, Axes
from searchspace.supernet.sharing import apart, share, slot_name
from searchspace.supernet.slices import Extent
from searchspace.unit_modules import make_unit
from searchspace.units import ANY_SIZE, PlacedUnit, Unit

MAX_VALUES = 1_000_000_000
_Values = tuple[tuple[str, OptionValue], ...]


def slot_units(space: SearchSpace, stems_apart: bool = False) -> dict[str, list[Unit]]:
    """Return, for every slot, units whose weights together span those of all its units.

    Args:
        space: the space.
        stems_apart: whether each stem type has slots of its own.
    """
    found: dict[str, list[Unit]] = {}

    def add(placed: PlacedUnit, index: int = 0, stage_count: int = 0) -> None:
        found.setdefault(slot_name(placed, index, stage_count), []).append(placed.unit)

    spec = space.spec
    widths = [max(stage.width) for stage in spec.stages]
    for type_, entry in spec.stems.items():
        width = max(entry.width) if entry.width else widths[0]
        for options in _combinations(STEMS[type_], {"stride": entry.stride, **entry.options}):
            unit = Unit("stem", type_, 3, width, ANY_SIZE, options)
            add(PlacedUnit("stem", -1, unit))
    own_widths = [max(entry.width) for entry in spec.stems.values() if entry.width]
    for index, stage in enumerate(spec.stages[: max(spec.counts)]):
        enters = widths[index - 1] if index else max(own_widths, default=0)
        for type_, axes in spec.downsamples.items():
            for options in _combinations(DOWNSAMPLINGS[type_], axes) if enters else ():
                unit = Unit("downsample", type_, enters, widths[index], ANY_SIZE, options)
                add(PlacedUnit("", index, unit))
        depths = dict.fromkeys((t for t in stage.tails if t != NONE), max(stage.tail_depth))
        depths |= dict.fromkeys(stage.blocks, max(stage.depth))
        for tail in stage.tails:
            if tail in stage.blocks:
                depths[tail] = max(max(stage.depth), max(stage.tail_depth))
        for type_, depth in depths.items():
            for number in range(depth):
                for unit in _block_units(type_, widths[index], spec.blocks[type_], number):
                    add(PlacedUnit("", index, unit), number)
    for count in spec.counts:
        for type_, axes in spec.heads.items():
            for options in _combinations(HEADS[type_], axes):
                unit = Unit("head", type_, widths[count - 1], 0, ANY_SIZE, options)
                add(PlacedUnit("head", count, unit), stage_count=count)
    if stems_apart:
        return {
            apart(slot, stem): members for slot, members in found.items() for stem in spec.stems
        }
    return found


def with_classes(unit: Unit, num_classes: int) -> Unit:
    """Return a head's unit with a number of classes; other units as they are."""
    return replace(unit, width=num_classes) if unit.role == "head" else unit


def slot_extents(
    units: Mapping[str, list[Unit]],
) -> dict[str, dict[str, tuple[Extent, torch.dtype, bool]]]:
    """Return the shared tensors of every slot: extent, type, and whether it is a parameter."""
    found: dict[str, dict[str, tuple[Extent, torch.dtype, bool]]] = {}
    for slot, members in units.items():
        entry = found.setdefault(slot, {})
        for unit in members:
            for key, (shape, dtype, is_parameter) in signature(unit).items():
                where = share(unit, key)
                if where.key not in entry:
                    entry[where.key] = (Extent.of(shape), dtype, is_parameter)
                entry[where.key][0].add(where, shape)
    return found


def check_size(extents: Mapping[str, Mapping[str, tuple[Extent, torch.dtype, bool]]]) -> None:
    """Check that shared weights can be held.

    A shared tensor spans the largest of every axis at once, which no member may do: a space can
    have small networks only and still share none.

    Raises:
        UserError: where a part has more values than `MAX_VALUES`; names its stage and type.
    """
    sizes: dict[tuple[str, str], int] = {}
    for slot, tensors in extents.items():
        place, type_ = slot.split(".")[:2]
        values = sum(math.prod(extent.shape) for extent, _, _ in tensors.values())
        sizes[place, type_] = sizes.get((place, type_), 0) + values
    total = sum(sizes.values())
    if total <= MAX_VALUES:
        return
    (place, type_), worst = max(sizes.items(), key=lambda item: item[1])
    where = f"stages[{place[5:]}]" if place.startswith("stage") else place
    raise UserError(
        f"{where}: its {type_} weights cannot be shared: with the largest width, depth and options "
        f"at once they have {worst / 1e9:.2f} x 10^9 values, the supernet {total / 1e9:.2f} x 10^9 "
        f"of {MAX_VALUES / 1e9:g} x 10^9 at most; give it smaller widths, depths or expansions"
    )


@lru_cache(maxsize=1 << 14)
def signature(unit: Unit) -> dict[str, tuple[tuple[int, ...], torch.dtype, bool]]:
    """Return shape, type and kind (parameter or buffer) of each of a unit's tensors."""
    with torch.device("meta"):
        module = make_unit(unit)
    parameters = {key for key, _ in module.named_parameters()}
    return {
        key: (tuple(tensor.shape), tensor.dtype, key in parameters)
        for key, tensor in module.state_dict().items()
    }


def _block_units(type_: str, width: int, axes: Axes, number: int) -> Iterator[Unit]:
    for name in BLOCKS[type_].patterns:
        patterns = [p for p in axes[name] if isinstance(p, tuple)]
        values = sorted({pattern[number % len(pattern)] for pattern in patterns})
        axes = {**axes, name: tuple(values)}
    for options in _combinations(BLOCKS[type_], axes):
        yield Unit("block", type_, width, width, ANY_SIZE, options)


def _combinations(
    spec: ComponentSpec, axes: Mapping[str, tuple[OptionValue, ...]]
) -> Iterator[_Values]:
    """Yield all values of structural options, and of others the largest."""
    structural = {"stride", *(name for name, option in spec.options.items() if option.structural)}
    reduced = [
        [(name, value) for value in (values if name in structural else (max(values),))]
        for name, values in axes.items()
    ]
    yield from itertools.product(*reduced)
