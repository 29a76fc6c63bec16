"""A space's YAML file: its form, and what has to hold so that every member can be built."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from searchspace.architecture import MAX_DEPTH, MAX_STAGES, MAX_WIDTH, MIN_TOKENS_SIDE
from searchspace.errors import UserError, plain_key, short
from searchspace.resolution import (
    RESOLUTIONS,
    Resolution,
    height_width,
    line_up,
    parse_resolution,
    raised,
    reduced,
    resolution_text,
)
from searchspace.schema import (
    BLOCKS,
    DOWNSAMPLINGS,
    HEADS,
    SEGMENTATION,
    STEMS,
    ComponentSpec,
    OptionSpec,
    OptionValue,
)
from searchspace.shape import Shape, parse_shape

NONE = "none"
Axes = dict[str, tuple[OptionValue, ...]]


@dataclass(frozen=True)
class StemSpec:
    """Values of a stem type's options.

    Attributes:
        stride: strides.
        width: widths of its own; empty where it takes the first stage's width. A stem with widths
            of its own is followed by a downsampling.
        options: other options.
    """

    stride: tuple[int, ...]
    width: tuple[int, ...]
    options: Axes

    def axes(self) -> list[tuple[str, tuple[Any, ...]]]:
        """Return its options with their values."""
        own = [("width", self.width)] if self.width else []
        return [("stride", self.stride), *own, *self.options.items()]


@dataclass(frozen=True)
class StageSpec:
    """Values for one stage position.

    Attributes:
        width: widths.
        depth: numbers of blocks.
        blocks: block types.
        tails: types of blocks appended to them, `none` among them for nothing.
        tail_depth: numbers of appended blocks.
    """

    width: tuple[int, ...]
    depth: tuple[int, ...]
    blocks: tuple[str, ...]
    tails: tuple[str, ...]
    tail_depth: tuple[int, ...]


@dataclass(frozen=True)
class SpaceFile:
    """A space as its file has it, validated and complete."""

    name: str
    resolution: tuple[Resolution, ...]
    counts: tuple[int, ...]
    stems: Mapping[str, StemSpec]
    blocks: Mapping[str, Axes]
    downsamples: Mapping[str, Axes]
    heads: Mapping[str, Axes]
    stages: tuple[StageSpec, ...]
    shape: Shape

    @property
    def task(self) -> str:
        """What its members' logits are of: `classification` or `segmentation`."""
        return HEADS[next(iter(self.heads))].task

    def most_used(self, type_: str, count: Any, first: Any) -> Any:
        """Return how many of the last stages a segmentation head may use at most.

        Those whose maps are no finer than its own: their strides double from stage to stage.

        Args:
            type_: of the head.
            count: of stages, or an array (n,) of many networks'.
            first: stride of the first stage's map, or an array (n,).
        """
        stride = _int(self.heads[type_]["stride"][0])
        return count - np.log2(np.maximum(stride / first, 1)).astype(np.int64)

    def head_axes(self, type_: str, count: int, first: int) -> Axes:
        """Return the values of a head's options behind some stages.

        Args:
            type_: of the head.
            count: of stages.
            first: stride of the first stage's map.
        """
        axes = self.heads[type_]
        if HEADS[type_].task != SEGMENTATION:
            return axes
        most = int(self.most_used(type_, count, first))
        return {**axes, "stages": tuple(n for n in axes["stages"] if _int(n) <= most)}


_FIELDS = (
    "name", "resolution", "stage_count", "shape", "stem", "blocks", "downsample", "head", "stages",
)  # fmt: skip
_RANGE = ("from", "to", "step")


def parse_space(data: object, default_name: str = "") -> SpaceFile:
    """Return the space that plain data describes.

    Raises:
        UserError: where a field is missing, unknown or out of range, or where a member could not be
            built; names the field and the allowed values.
    """
    body = _mapping("space", data)
    for field in body:
        if field not in _FIELDS:
            raise UserError(f"{plain_key(field)}: unknown field; allowed: {', '.join(_FIELDS)}")
    for field in ("stage_count", "stem", "blocks", "downsample", "head", "stages"):
        if field not in body:
            raise UserError(f"{field}: missing")
    name = body.get("name", default_name)
    if not isinstance(name, str) or not name.isprintable():
        raise UserError(f"name: {short(name)} is not a line of text")
    stages = body["stages"]
    if not isinstance(stages, list) or not stages:
        raise UserError("stages: give a list with an entry for each stage position")
    blocks = {
        type_: _options(f"blocks.{plain_key(type_)}", BLOCKS, type_, options)
        for type_, options in _mapping("blocks", body["blocks"]).items()
    }
    spec = SpaceFile(
        name=name,
        resolution=_resolutions(body.get("resolution", 224)),
        counts=_integers("stage_count", body["stage_count"], 1, min(MAX_STAGES, len(stages))),
        stems={
            type_: _stem(f"stem.{plain_key(type_)}", type_, options)
            for type_, options in _mapping("stem", body["stem"]).items()
        },
        blocks=blocks,
        downsamples={
            type_: _options(f"downsample.{plain_key(type_)}", DOWNSAMPLINGS, type_, options)
            for type_, options in _mapping("downsample", body["downsample"]).items()
        },
        heads={
            type_: _options(f"head.{plain_key(type_)}", HEADS, type_, options)
            for type_, options in _mapping("head", body["head"]).items()
        },
        stages=tuple(_stage(f"stages[{i}]", entry, blocks) for i, entry in enumerate(stages)),
        shape=parse_shape(body.get("shape", {})),
    )
    for field, table in (
        ("stem", spec.stems),
        ("downsample", spec.downsamples),
        ("head", spec.heads),
    ):
        if not table:
            raise UserError(f"{field}: give one type or more")
    _check_widths(spec)
    _check_sides(spec)
    _check_heads(spec)
    for type_, entry in spec.stems.items():
        for stride in entry.stride:
            for width in entry.width or (None,):
                width_sequences(spec, max(spec.counts), f"a {type_} stem", stride, width)
    return spec


def width_sequences(
    spec: SpaceFile, count: int, stem: str, stride: int, width: int | None = None
) -> int:
    """Return how many sequences of stage widths a stem can be followed by.

    Args:
        spec: the space.
        count: stages.
        stem: the stem's name, for the message.
        stride: its stride.
        width: its own width, None where it takes the first stage's.

    Raises:
        UserError: where a stage has no width that may follow; names it.
    """
    ends: dict[int | None, int] = {width: 1}
    for index in range(count):
        if index > 0 or width is not None:
            stride *= 2
        try:
            ends = spec.shape.follow(spec.stages[index].width, stride, ends)
        except UserError as error:
            raise UserError(f"stages[{index}].width: with {stem}, {error}; see shape") from None
    return sum(ends.values())


def _check_widths(spec: SpaceFile) -> None:
    for index, stage in enumerate(spec.stages):
        for type_ in dict.fromkeys((*stage.blocks, *(t for t in stage.tails if t != NONE))):
            for width in stage.width:
                for options in _corners(type_, spec.blocks[type_]):
                    problem = BLOCKS[type_].check(width, options)
                    if problem:
                        raise UserError(f"stages[{index}].width: with block {type_}, {problem}")
    for type_, entry in spec.stems.items():
        if type_ not in ("shvit", "swiftformer"):
            continue
        for width in entry.width or spec.stages[0].width:
            for stride in entry.stride:
                if width % (stride // 2):
                    raise UserError(
                        f"stem.{type_}: stride {stride} needs widths that are multiples of "
                        f"{stride // 2}; {width} is not"
                    )


def _corners(type_: str, options: Axes) -> list[dict[str, OptionValue]]:
    """All combinations of the options that a check may look at."""
    combinations: list[dict[str, OptionValue]] = [{}]
    for name, values in options.items():
        relevant = values if BLOCKS[type_].options[name].checked else values[:1]
        combinations = [{**c, name: v} for c in combinations for v in relevant]
    return combinations


def _check_sides(spec: SpaceFile) -> None:
    for resolution in spec.resolution:
        for type_, entry in spec.stems.items():
            for stride in entry.stride:
                for count in spec.counts:
                    size = reduced(height_width(resolution), stride)
                    for _ in range(count - (0 if entry.width else 1)):
                        size = reduced(size, 2)
                    if min(size) < MIN_TOKENS_SIDE:
                        raise UserError(
                            f"stage_count: {count} stages after a {type_} stem of stride {stride} "
                            f"leave {size[0]}x{size[1]} at resolution "
                            f"{resolution_text(resolution)}; 2x2 is the least "
                            "(fewer stages, a smaller stride or a higher resolution)"
                        )


def _check_heads(spec: SpaceFile) -> None:
    """Check that heads are for one task, and that each fits behind every stem and its stages."""
    tasks = {HEADS[type_].task for type_ in spec.heads}
    if len(tasks) > 1:
        raise UserError(f"head: types for {' and '.join(sorted(tasks))}; a space is for one task")
    for type_, axes in spec.heads.items():
        if spec.task != SEGMENTATION:
            continue
        at = f"head.{plain_key(type_)}"
        for option in ("stride", "classes"):
            if len(axes[option]) > 1:
                raise UserError(f"{at}.{option}: {short(list(axes[option]))} given; use one value")
        stride = _int(axes["stride"][0])
        if stride & (stride - 1):
            raise UserError(f"{at}.stride: {stride} is not a power of two")
        for stem, entry in spec.stems.items():
            for first, count in itertools.product(entry.stride, spec.counts):
                where = f"{count} stages after a {stem} stem of stride {first}"
                strides = [first << (i + bool(entry.width)) for i in range(count)]
                used = spec.head_axes(type_, count, strides[0])["stages"]
                if not used:
                    raise UserError(
                        f"{at}.stages: {short(list(axes['stages']))} are too many behind {where}, "
                        f"of whose maps {sum(s >= stride for s in strides)} are no finer than the "
                        f"head's stride of {stride}"
                    )
                _check_maps(spec, strides[-_int(max(used)) :], stride, where)


def _check_maps(spec: SpaceFile, strides: Sequence[int], stride: int, where: str) -> None:
    """Check that maps that a head adds up have one size at every resolution."""
    for resolution in spec.resolution:
        size = height_width(resolution)
        if not line_up([reduced(size, s) for s in strides], strides, stride):
            raise UserError(
                f"resolution: at {resolution_text(resolution)} the maps of strides "
                f"{', '.join(map(str, strides))}, which the head adds up behind {where}, differ in "
                f"size; {resolution_text(raised(resolution, strides[-1]))} would do"
            )


def _int(value: OptionValue) -> int:
    assert isinstance(value, int)
    return value


def _resolutions(data: object) -> tuple[Resolution, ...]:
    where = "resolution"
    if isinstance(data, str):
        data = [data]
    items = [parse_resolution(where, item) for item in _expanded(where, data, *RESOLUTIONS)]
    return tuple(sorted(_distinct(where, items), key=height_width))


def _stem(where: str, type_: str, data: object) -> StemSpec:
    if type_ not in STEMS:
        raise UserError(f"{where}: unknown; use {', '.join(STEMS)}")
    body = dict(_mapping(where, data or {}))
    allowed = STEMS[type_].strides
    stride = _integers(f"{where}.stride", body.pop("stride", list(allowed)), 1, 64)
    for value in stride:
        if value not in allowed:
            raise UserError(f"{where}.stride: {value} is not allowed; use {list(allowed)}")
    width = body.pop("width", None)
    return StemSpec(
        stride=stride,
        width=() if width is None else _integers(f"{where}.width", width, 8, MAX_WIDTH),
        options=_options(where, STEMS, type_, body),
    )


def _stage(where: str, data: object, blocks: Mapping[str, Axes]) -> StageSpec:
    body = _mapping(where, data)
    allowed = ("width", "depth", "block", "tail", "tail_depth")
    for field in body:
        if field not in allowed:
            raise UserError(
                f"{where}.{plain_key(field)}: unknown field; allowed: {', '.join(allowed)}"
            )
    for field in ("width", "depth", "block"):
        if field not in body:
            raise UserError(f"{where}.{field}: missing")
    types = _names(f"{where}.block", body["block"], tuple(blocks))
    tails = _names(f"{where}.tail", body.get("tail", NONE), (NONE, *blocks))
    return StageSpec(
        width=_integers(f"{where}.width", body["width"], 8, MAX_WIDTH),
        depth=_integers(f"{where}.depth", body["depth"], 1, MAX_DEPTH),
        blocks=types,
        tails=tails,
        tail_depth=_integers(f"{where}.tail_depth", body.get("tail_depth", 1), 1, MAX_DEPTH),
    )


def _options(where: str, specs: Mapping[str, ComponentSpec], type_: object, data: object) -> Axes:
    if type_ not in specs:
        raise UserError(f"{where}: unknown; use {', '.join(specs)}")
    schema = specs[str(type_)].options
    body = _mapping(where, data or {})
    for name in body:
        if name not in schema:
            allowed = ", ".join(schema) or "none"
            raise UserError(f"{where}.{plain_key(name)}: unknown option; allowed: {allowed}")
    return {
        name: _values(f"{where}.{name}", option, body.get(name, [option.default]))
        for name, option in schema.items()
    }


def _values(where: str, option: OptionSpec, data: object) -> tuple[OptionValue, ...]:
    if option.kind == "int":
        items = _expanded(where, data, int(option.low), int(option.high))
    else:
        items = data if isinstance(data, list) else [data]
    if option.kind == "ints" and items and not isinstance(items[0], list | tuple):
        items = [items]
    values = []
    for item in items:
        value = option.parse(item)
        if value is None:
            raise UserError(f"{where}: {short(item)} is not {option.describe()}")
        values.append(value)
    return _distinct(where, sorted(values) if option.kind == "int" else values)


def _integers(where: str, data: object, low: int, high: int) -> tuple[int, ...]:
    items = _expanded(where, data, low, high)
    for item in items:
        if isinstance(item, bool) or not isinstance(item, int) or not low <= item <= high:
            raise UserError(f"{where}: {short(item)} is not an integer from {low} to {high}")
    return tuple(sorted(_distinct(where, items)))


def _expanded(where: str, data: object, low: int, high: int) -> list[Any]:
    """Return the items of a list, or the one item, with ranges replaced by their integers."""
    items: list[Any] = []
    for item in data if isinstance(data, list) else [data]:
        if isinstance(item, dict) and item.keys() & set(_RANGE):
            items += _range(where, item, low, high)
        else:
            items.append(item)
    return items


def _range(where: str, data: Mapping[Any, Any], low: int, high: int) -> range:
    """Return the integers of `{from: 16, to: 96, step: 8}`; both ends belong to them."""
    for name in data:
        if name not in _RANGE:
            raise UserError(
                f"{where}.{plain_key(name)}: unknown field; a range has {', '.join(_RANGE)}"
            )
    for name in ("from", "to"):
        if name not in data:
            raise UserError(f"{where}.{name}: missing; a range has {', '.join(_RANGE)}")
    first = _integers(f"{where}.from", data["from"], low, high)
    last = _integers(f"{where}.to", data["to"], low, high)
    step = _integers(f"{where}.step", data.get("step", 1), 1, high)
    if not len(first) == len(last) == len(step) == 1:
        raise UserError(f"{where}: {short(dict(data))} is not a range of integers")
    if last[0] < first[0]:
        raise UserError(f"{where}.to: {last[0]} is less than where the range begins, {first[0]}")
    over = (last[0] - first[0]) % step[0]
    if over:
        raise UserError(
            f"{where}.to: steps of {step[0]} from {first[0]} lead to {last[0] - over} and "
            f"{last[0] - over + step[0]}, not to {last[0]}"
        )
    return range(first[0], last[0] + 1, step[0])


def _names(where: str, data: object, allowed: tuple[str, ...]) -> tuple[str, ...]:
    items = data if isinstance(data, list) else [data]
    for item in items:
        if item not in allowed:
            raise UserError(f"{where}: {short(item)} is not one of {', '.join(allowed)}")
    return _distinct(where, items)


def _distinct(where: str, items: list[Any]) -> tuple[Any, ...]:
    if not items:
        raise UserError(f"{where}: empty; give one value or more")
    if len(set(items)) != len(items):
        raise UserError(f"{where}: {short(items)} has a value twice")
    return tuple(items)


def _mapping(where: str, data: object) -> Mapping[str, Any]:
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise UserError(f"{where}: {short(data)} is not a mapping of fields")
    return data
