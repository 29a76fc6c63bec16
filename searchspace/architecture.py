"""`Architecture`: a frozen, validated description of one network, with YAML both ways."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from searchspace.drawing import architecture_html, in_words
from searchspace.errors import UserError, plain_key, short
from searchspace.resolution import (
    Resolution,
    Size,
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
    OptionValue,
)
from searchspace.yaml_text import parse_yaml, read_yaml

MAX_WIDTH = 4096
MAX_DEPTH = 64
MAX_STAGES = 6
MIN_TOKENS_SIDE = 2
MAX_NAME = 200


@dataclass(frozen=True)
class Component:
    """A named building block with its options, sorted by name and complete.

    Attributes:
        type: name in the schema.
        options: `(name, value)` pairs; defaults are filled in.
    """

    type: str
    options: tuple[tuple[str, OptionValue], ...] = ()

    @cached_property
    def option(self) -> Mapping[str, OptionValue]:
        """The options as a mapping."""
        return dict(self.options)


@dataclass(frozen=True)
class Stem(Component):
    """Turns the image into `width` channels at 1/`stride` of its side."""

    width: int = 64
    stride: int = 4


@dataclass(frozen=True)
class Downsample(Component):
    """Halves the resolution on entry to a stage."""


@dataclass(frozen=True)
class Block(Component):
    """A run of `depth` equal blocks."""

    depth: int = 1


@dataclass(frozen=True)
class Stage:
    """Blocks of one width at one resolution.

    Attributes:
        width: channels.
        blocks: runs of blocks, in order.
        downsample: how the stage is entered, None where it keeps the resolution and width.
    """

    width: int
    blocks: tuple[Block, ...]
    downsample: Downsample | None = None

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return sum(block.depth for block in self.blocks)


@dataclass(frozen=True)
class Head(Component):
    """Turns feature maps into logits."""


@dataclass(frozen=True, repr=False)
class Architecture:
    """One network of the space.

    Attributes:
        resolution: of the input in pixels: the side of a square, or (height, width).
        stem: the stem.
        stages: the stages, in order.
        head: the head, which says what the network is for.
        name: a label; not part of the identity.

    Raises:
        UserError: on construction, where the network could not be built; names the field.
    """

    resolution: Resolution
    stem: Stem
    stages: tuple[Stage, ...]
    head: Head
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "resolution", parse_resolution("resolution", self.resolution))
        _check_component("stem", self.stem, STEMS)
        _check_component("head", self.head, HEADS)
        strides = STEMS[self.stem.type].strides
        if type(self.stem.stride) is not int or self.stem.stride not in strides:
            raise UserError(
                f"stem.stride: {short(self.stem.stride)} is not allowed for a {self.stem.type} "
                f"stem; use one of {list(strides)}"
            )
        _check_int("stem.width", self.stem.width, 8, MAX_WIDTH)
        if self.stem.type in ("shvit", "swiftformer"):
            divisor = self.stem.stride // 2
            if self.stem.width % divisor:
                raise UserError(
                    f"stem.width: {self.stem.width} is not a multiple of {divisor}, which a "
                    f"{self.stem.type} stem of stride {self.stem.stride} needs"
                )
        if not 1 <= len(self.stages) <= MAX_STAGES:
            raise UserError(f"stages: {len(self.stages)} given; use 1 to {MAX_STAGES}")
        width = self.stem.width
        for index, (stage, size) in enumerate(zip(self.stages, self.sizes, strict=True)):
            where = f"stages[{index}]"
            _check_int(f"{where}.width", stage.width, 8, MAX_WIDTH)
            if stage.downsample is None and stage.width != width:
                raise UserError(
                    f"{where}.width: {stage.width} without a downsample has to equal the width "
                    f"before it, {width}"
                )
            if stage.downsample is not None:
                _check_component(f"{where}.downsample", stage.downsample, DOWNSAMPLINGS)
            if min(size) < MIN_TOKENS_SIDE:
                raise UserError(
                    f"{where}: its feature map would be {size[0]}x{size[1]} at resolution "
                    f"{resolution_text(self.resolution)}; 2x2 is the least (raise the resolution, "
                    "or use a smaller stem stride or fewer stages)"
                )
            if not stage.blocks:
                raise UserError(f"{where}.blocks: empty; give one block or more")
            for number, block in enumerate(stage.blocks):
                at = f"{where}.blocks[{number}]"
                _check_component(at, block, BLOCKS)
                _check_int(f"{at}.depth", block.depth, 1, MAX_DEPTH)
                problem = BLOCKS[block.type].check(stage.width, block.option)
                if problem:
                    raise UserError(f"{at}.{problem}")
            width = stage.width
        if self.task == SEGMENTATION:
            self._check_maps()

    def _check_maps(self) -> None:
        """Check that a head can add up the maps that it uses."""
        count, stride = self.head.option["stages"], self.head.option["stride"]
        assert isinstance(count, int)
        assert isinstance(stride, int)
        if count > len(self.stages):
            raise UserError(
                f"head.stages: {count} given, the network has {len(self.stages)}; use as many at "
                "most"
            )
        used = self.reductions[-count:]
        if stride & (stride - 1):
            raise UserError(f"head.stride: {stride} is not a power of two; {used[0]} would do")
        if stride > used[0]:
            raise UserError(
                f"head.stride: {stride} is coarser than the map of stage "
                f"{len(self.stages) - count + 1}, whose stride is {used[0]}; use {used[0]} or "
                "less, or fewer stages"
            )
        if not line_up(self.sizes[-count:], used, stride):
            raise UserError(
                f"resolution: at {resolution_text(self.resolution)} the maps of strides "
                f"{', '.join(map(str, used))}, which the head adds up, differ in size; "
                f"{resolution_text(raised(self.resolution, used[-1]))} would do"
            )

    @property
    def sizes(self) -> tuple[Size, ...]:
        """Height and width of each stage's feature map, in tokens."""
        size = reduced(height_width(self.resolution), self.stem.stride)
        sizes = []
        for stage in self.stages:
            if stage.downsample is not None:
                size = reduced(size, 2)
            sizes.append(size)
        return tuple(sizes)

    @property
    def reductions(self) -> tuple[int, ...]:
        """Stride of each stage's feature map over the image."""
        stride, strides = self.stem.stride, []
        for stage in self.stages:
            stride *= 1 if stage.downsample is None else 2
            strides.append(stride)
        return tuple(strides)

    @property
    def task(self) -> str:
        """What its logits are of: `classification` or `segmentation`."""
        return HEADS[self.head.type].task

    @property
    def num_classes(self) -> int:
        """Classes that it is counted and priced with: its head's own, or ImageNet's 1000."""
        classes = self.head.option.get("classes", 1000)
        assert isinstance(classes, int)
        return classes

    @property
    def depth(self) -> int:
        """Number of blocks over all stages."""
        return sum(stage.depth for stage in self.stages)

    def digest(self) -> str:
        """Return 16 hex digits that identify the network; stable across versions and machines."""
        body = self.to_dict()
        body.pop("name", None)
        text = json.dumps(body, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        """Return the network in one line."""
        name = f"{self.name}: " if self.name else ""
        return f"Architecture({name}{resolution_text(self.resolution)} px; {in_words(self)})"

    def _repr_html_(self) -> str:
        """Return a drawing of the stages, for notebooks."""
        return architecture_html(self)

    def renamed(self, name: str) -> Architecture:
        """Return the same network under another label."""
        return replace(self, name=name)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as in the YAML file."""
        stages = []
        for stage in self.stages:
            entry: dict[str, Any] = {"width": stage.width}
            if stage.downsample is not None:
                entry["downsample"] = _plain(stage.downsample)
            entry["blocks"] = [
                {"type": b.type, "depth": b.depth, **_plain_options(b)} for b in stage.blocks
            ]
            stages.append(entry)
        body: dict[str, Any] = {"name": self.name} if self.name else {}
        stem = {"type": self.stem.type, "stride": self.stem.stride, "width": self.stem.width}
        return body | {
            "resolution": (
                self.resolution if isinstance(self.resolution, int) else list(self.resolution)
            ),
            "stem": stem | _plain_options(self.stem),
            "stages": stages,
            "head": _plain(self.head),
        }

    @classmethod
    def from_dict(cls, data: object) -> Architecture:
        """Return the architecture that plain data describes.

        Raises:
            UserError: where a field is missing, unknown or out of range; names it.
        """
        body = _mapping("architecture", data)
        _known("", body, ("name", "resolution", "stem", "stages", "head"))
        name = body.get("name", "")
        if not isinstance(name, str) or not (name.isprintable() and len(name) <= MAX_NAME):
            raise UserError(f"name: {short(name)} is not a line of text")
        stages = _required("", body, "stages")
        if not isinstance(stages, list):
            raise UserError(f"stages: {short(stages)} is not a list of stages")
        stem = _mapping("stem", _required("", body, "stem"))
        stem_type, stem_options = _component("stem", stem, STEMS, ("width", "stride"))
        head_type, head_options = _component(
            "head", _mapping("head", _required("", body, "head")), HEADS
        )
        return cls(
            resolution=_required("", body, "resolution"),
            stem=Stem(
                stem_type,
                stem_options,
                width=_required("stem.", stem, "width"),
                stride=_required("stem.", stem, "stride"),
            ),
            stages=tuple(_stage(f"stages[{i}]", entry) for i, entry in enumerate(stages)),
            head=Head(head_type, head_options),
            name=name,
        )

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the YAML text, and write it to `path` where one is given."""
        text = yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=96)
        if path is not None:
            Path(path).write_text(text)
        return text

    @classmethod
    def from_yaml(cls, path: str | Path) -> Architecture:
        """Read an architecture file.

        Raises:
            UserError: where the file is missing, not YAML, or not an architecture.
        """
        return cls._from_data(read_yaml(path, "architecture"), path)

    @classmethod
    def from_text(cls, text: str, where: str | Path) -> Architecture:
        """Return the architecture of YAML text, which a file such as a checkpoint holds.

        Args:
            text: as `to_yaml` gives it.
            where: the file, for the message.

        Raises:
            UserError: where it is not YAML, or not an architecture.
        """
        return cls._from_data(parse_yaml(text, where, "architecture"), where)

    @classmethod
    def _from_data(cls, data: object, where: str | Path) -> Architecture:
        try:
            return cls.from_dict(data)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None


def stem(type: str, *, width: int, stride: int, **options: OptionValue) -> Stem:
    """Return a stem with its options checked and completed."""
    return Stem(type, _options("stem", type, options, STEMS), width=width, stride=stride)


def block(type: str, depth: int = 1, **options: OptionValue) -> Block:
    """Return a run of blocks with its options checked and completed."""
    return Block(type, _options("block", type, options, BLOCKS), depth=depth)


def downsample(type: str, **options: OptionValue) -> Downsample:
    """Return a downsampling with its options checked and completed."""
    return Downsample(type, _options("downsample", type, options, DOWNSAMPLINGS))


def head(type: str, **options: OptionValue) -> Head:
    """Return a head with its options checked and completed."""
    return Head(type, _options("head", type, options, HEADS))


def _stage(where: str, data: object) -> Stage:
    body = _mapping(where, data)
    _known(f"{where}.", body, ("width", "downsample", "blocks"))
    entry = body.get("downsample")
    down = None
    if entry is not None:
        at = f"{where}.downsample"
        down = Downsample(*_component(at, _mapping(at, entry), DOWNSAMPLINGS))
    blocks = _required(f"{where}.", body, "blocks")
    if not isinstance(blocks, list):
        raise UserError(f"{where}.blocks: {short(blocks)} is not a list of blocks")
    runs = []
    for number, item in enumerate(blocks):
        at = f"{where}.blocks[{number}]"
        mapping = _mapping(at, item)
        type_, options = _component(at, mapping, BLOCKS, ("depth",))
        runs.append(Block(type_, options, depth=mapping.get("depth", 1)))
    return Stage(width=_required(f"{where}.", body, "width"), blocks=tuple(runs), downsample=down)


def _component(
    where: str,
    body: Mapping[str, Any],
    specs: Mapping[str, ComponentSpec],
    own: tuple[str, ...] = (),
) -> tuple[str, tuple[tuple[str, OptionValue], ...]]:
    type_ = _required(f"{where}.", body, "type")
    rest = {k: v for k, v in body.items() if k != "type" and k not in own}
    return type_, _options(where, type_, rest, specs)


def _options(
    where: str, type_: object, given: Mapping[str, Any], specs: Mapping[str, ComponentSpec]
) -> tuple[tuple[str, OptionValue], ...]:
    if not isinstance(type_, str) or type_ not in specs:
        raise UserError(f"{where}.type: {short(type_)} is unknown; use one of {', '.join(specs)}")
    schema = specs[type_].options
    _known(f"{where}.", given, tuple(schema))
    options = []
    for name, spec in sorted(schema.items()):
        value = spec.parse(given.get(name, spec.default))
        if value is None:
            raise UserError(f"{where}.{name}: {short(given[name])} is not {spec.describe()}")
        options.append((name, value))
    return tuple(options)


def _plain(component: Component) -> dict[str, Any]:
    return {"type": component.type, **_plain_options(component)}


def _plain_options(component: Component) -> dict[str, Any]:
    return {k: list(v) if isinstance(v, tuple) else v for k, v in component.options}


def _mapping(where: str, data: object) -> Mapping[str, Any]:
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise UserError(f"{where}: {short(data)} is not a mapping of fields")
    return data


def _required(where: str, body: Mapping[str, Any], name: str) -> Any:
    if name not in body:
        raise UserError(f"{where}{name}: missing")
    return body[name]


def _known(where: str, body: Mapping[str, Any], allowed: tuple[str, ...]) -> None:
    for name in body:
        if name not in allowed:
            what = ", ".join(allowed) or "none"
            raise UserError(f"{where}{plain_key(name)}: unknown field; allowed: {what}")


def _check_component(where: str, component: Component, specs: Mapping[str, ComponentSpec]) -> None:
    if component.type not in specs:
        raise UserError(
            f"{where}.type: {short(component.type)} is unknown; use one of {', '.join(specs)}"
        )
    for name in specs[component.type].options:
        if name not in component.option:
            raise UserError(f"{where}.{name}: missing")


def _check_int(where: str, value: object, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise UserError(f"{where}: {short(value)} is not an integer from {low} to {high}")
