"""`SpaceAxes`: what may vary in a space, as named axes, and the one walk over them.

Which axes are active depends on others (a block's options on its type), and so does which widths of
a stage are allowed (`Shape`). The walk builds an architecture from a choice on each active axis;
`read` goes the other way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
from typing import Any

from searchspace.architecture import (
    Architecture,
    Block,
    Downsample,
    Head,
    Stage,
    Stem,
    block,
    downsample,
    head,
    stem,
)
from searchspace.schema import OptionValue
from searchspace.space_file import NONE, SpaceFile

Choices = dict[str, Any]
Choose = Callable[[str, Sequence[Any]], Any]

# An axis of more integers than this is a size: drawn evenly in its logarithm, and varied in steps.
SIZES = 8


class SpaceAxes:
    """The axes of a space.

    Args:
        spec: what the space's file says.
    """

    def __init__(self, spec: SpaceFile) -> None:
        self._spec = spec
        self._allowed: dict[tuple[int, int, int | None], tuple[int, ...]] = {}

    @cached_property
    def values(self) -> dict[str, tuple[Any, ...]]:
        """Values of every axis that has more than one, by name, in a fixed order."""
        found: dict[str, tuple[Any, ...]] = {}

        def add(name: str, values: Sequence[Any]) -> None:
            if len(values) > 1:
                found[name] = tuple(values)

        spec = self._spec
        add("resolution", spec.resolution)
        add("stages", spec.counts)
        add("stem", tuple(spec.stems))
        for type_, entry in spec.stems.items():
            for option, values in entry.axes():
                add(f"stem.{type_}.{option}", values)
        for index, stage in enumerate(spec.stages):
            at = f"stage{index + 1}"
            add(f"{at}.width", stage.width)
            add(f"{at}.downsample", tuple(spec.downsamples))
            for type_, options in spec.downsamples.items():
                for option, values in options.items():
                    add(f"{at}.downsample.{type_}.{option}", values)
            add(f"{at}.block", stage.blocks)
            for type_ in stage.blocks:
                for option, values in spec.blocks[type_].items():
                    add(f"{at}.{type_}.{option}", values)
            add(f"{at}.depth", stage.depth)
            add(f"{at}.tail", stage.tails)
            for type_ in stage.tails:
                for option, values in spec.blocks.get(type_, {}).items():
                    add(f"{at}.tail.{type_}.{option}", values)
            add(f"{at}.tail_depth", stage.tail_depth)
        add("head", tuple(spec.heads))
        for type_, options in spec.heads.items():
            for option, values in options.items():
                add(f"head.{type_}.{option}", values)
        return found

    @cached_property
    def sizes(self) -> frozenset[str]:
        """Names of the axes that are sizes: long lists of integers."""
        return frozenset(
            name
            for name, values in self.values.items()
            if len(values) > SIZES and all(type(value) is int for value in values)
        )

    def widths(self, index: int, stride: int, before: int | None) -> tuple[int, ...]:
        """Return the widths that a stage may have.

        Args:
            index: of the stage, from 0.
            stride: of its feature map over the image.
            before: width of what comes before it; None where nothing has one, or for any.
        """
        key = index, stride, before
        if key not in self._allowed:
            values = self._spec.stages[index].width
            self._allowed[key] = self._spec.shape.allowed(values, stride, before)
        return self._allowed[key]

    def construct(self, choose: Choose, whole: bool = False) -> Architecture:
        """Walk over the active axes and build what is chosen.

        Args:
            choose: picks a value of a named axis. A number that is not allowed moves to the nearest
                that is.
            whole: also ask about axes with one value.

        Raises:
            UserError: where the choices make no architecture.
        """
        spec = self._spec

        def pick(name: str, values: Sequence[Any]) -> Any:
            if len(values) == 1 and not whole:
                return values[0]
            value = choose(name, values)
            return value if value in values else nearest_value(values, value)

        def options(prefix: str, axes: Mapping[str, tuple[OptionValue, ...]]) -> _Items:
            return tuple((o, pick(f"{prefix}.{o}", values)) for o, values in axes.items())

        resolution = pick("resolution", spec.resolution)
        count = pick("stages", spec.counts)
        stem_type = pick("stem", tuple(spec.stems))
        entry = spec.stems[stem_type]
        stem_options = {o: pick(f"stem.{stem_type}.{o}", v) for o, v in entry.axes()}
        stride = stem_options.pop("stride")
        width = stem_options.pop("width", None)
        stages: list[Stage] = []
        reduction, stage_width = stride, width
        first = stride if width is None else 2 * stride
        for index in range(count):
            stage, at = spec.stages[index], f"stage{index + 1}"
            enters = stage_width is not None
            reduction *= 2 if enters else 1
            stage_width = pick(f"{at}.width", self.widths(index, reduction, stage_width))
            down = None
            if enters:
                type_ = pick(f"{at}.downsample", tuple(spec.downsamples))
                down = _downsample(
                    type_, options(f"{at}.downsample.{type_}", spec.downsamples[type_])
                )
            type_ = pick(f"{at}.block", stage.blocks)
            depth = pick(f"{at}.depth", stage.depth)
            runs = [_block(type_, depth, options(f"{at}.{type_}", spec.blocks[type_]))]
            tail = pick(f"{at}.tail", stage.tails)
            if tail not in (NONE, type_):
                tail_depth = pick(f"{at}.tail_depth", stage.tail_depth)
                tail_options = options(f"{at}.tail.{tail}", spec.blocks[tail])
                runs.append(_block(tail, tail_depth, tail_options))
            stages.append(Stage(stage_width, tuple(runs), down))
        head_type = pick("head", tuple(spec.heads))
        return Architecture(
            resolution=resolution,
            stem=_stem(
                stem_type,
                stages[0].width if width is None else width,
                stride,
                tuple(stem_options.items()),
            ),
            stages=tuple(stages),
            head=_head(
                head_type,
                options(f"head.{head_type}", spec.head_axes(head_type, count, first)),
            ),
        )

    def read(self, architecture: Architecture) -> Choices | None:
        """Return the axis values that an architecture's structure shows, allowed or not."""
        if len(architecture.stages) > len(self._spec.stages):
            return None
        a = architecture
        raw: Choices = {
            "resolution": a.resolution,
            "stages": len(a.stages),
            "stem": a.stem.type,
            f"stem.{a.stem.type}.stride": a.stem.stride,
            f"stem.{a.stem.type}.width": a.stem.width,
            "head": a.head.type,
        }
        raw |= {f"stem.{a.stem.type}.{k}": v for k, v in a.stem.options}
        raw |= {f"head.{a.head.type}.{k}": v for k, v in a.head.options}
        for index, stage in enumerate(a.stages):
            at = f"stage{index + 1}"
            raw[f"{at}.width"] = stage.width
            if stage.downsample is not None:
                type_ = stage.downsample.type
                raw[f"{at}.downsample"] = type_
                raw |= {f"{at}.downsample.{type_}.{k}": v for k, v in stage.downsample.options}
            if len(stage.blocks) > 2:
                return None
            main = stage.blocks[0]
            raw[f"{at}.block"], raw[f"{at}.depth"] = main.type, main.depth
            raw |= {f"{at}.{main.type}.{k}": v for k, v in main.options}
            raw[f"{at}.tail"] = NONE
            if NONE not in self._spec.stages[index].tails:
                raw[f"{at}.tail"] = main.type
            if len(stage.blocks) == 2:
                tail = stage.blocks[1]
                raw[f"{at}.tail"], raw[f"{at}.tail_depth"] = tail.type, tail.depth
                raw |= {f"{at}.tail.{tail.type}.{k}": v for k, v in tail.options}
        return raw


_Items = tuple[tuple[str, Any], ...]


@lru_cache(maxsize=1 << 16)
def _block(type_: str, depth: int, options: _Items) -> Block:
    return block(type_, depth, **dict(options))


@lru_cache(maxsize=4096)
def _downsample(type_: str, options: _Items) -> Downsample:
    return downsample(type_, **dict(options))


@lru_cache(maxsize=4096)
def _stem(type_: str, width: int, stride: int, options: _Items) -> Stem:
    return stem(type_, width=width, stride=stride, **dict(options))


@lru_cache(maxsize=4096)
def _head(type_: str, options: _Items) -> Head:
    return head(type_, **dict(options))


def nearest_value(values: Sequence[Any], value: Any) -> Any:
    """Return the number nearest to another by ratio; the first value where they aren't numbers."""
    if not all(isinstance(v, int | float) for v in (*values, value)):
        return values[0]
    return min(values, key=lambda v: abs(math.log(max(v, 1e-9) / max(value, 1e-9))))
