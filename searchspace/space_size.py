"""How many architectures a space has."""

from __future__ import annotations

import math
from collections.abc import Mapping

from searchspace.schema import OptionValue
from searchspace.space_file import NONE, SpaceFile, StageSpec, width_sequences


def space_size(spec: SpaceFile) -> int:
    """Return how many architectures the space has."""
    down = sum(_combinations(o) for o in spec.downsamples.values())
    total = 0
    for count in spec.counts:
        stages = [_stage_size(spec, stage) for stage in spec.stages[:count]]
        rest = math.prod(stages) * down ** (count - 1)
        for type_, entry in spec.stems.items():
            variants = _combinations(entry.options) * (down if entry.width else 1)
            for stride in entry.stride:
                first = 2 * stride if entry.width else stride
                widths = sum(
                    width_sequences(spec, count, type_, stride, width)
                    for width in entry.width or (None,)
                )
                total += widths * variants * rest * _heads(spec, count, first)
    return total * len(spec.resolution)


def _heads(spec: SpaceFile, count: int, first: int) -> int:
    """Return how many heads may stand behind stages, by the stride of the first one's map."""
    return sum(_combinations(spec.head_axes(type_, count, first)) for type_ in spec.heads)


def _stage_size(spec: SpaceFile, stage: StageSpec) -> int:
    """Return how many stages there are of one width."""
    total = 0
    for type_ in stage.blocks:
        tails = sum(
            len(stage.tail_depth) * _combinations(spec.blocks[tail])
            for tail in stage.tails
            if tail not in (NONE, type_)
        )
        # A tail of the block's own type is no tail.
        plain = 1 if any(t in (NONE, type_) for t in stage.tails) else 0
        total += _combinations(spec.blocks[type_]) * (tails + plain)
    return total * len(stage.depth)


def _combinations(options: Mapping[str, tuple[OptionValue, ...]]) -> int:
    return math.prod(len(values) for values in options.values())
