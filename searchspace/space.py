"""`SearchSpace`: what may vary, read from one YAML file; sampling, variation, membership.

Every choice is a named axis with a fixed list of values; which axes are active depends on others
(a block's options on its type), and so does which widths of a stage are allowed (`Shape`). One walk
over the axes (`_construct`) serves sampling, mutation, crossover, Optuna and decoding: they differ
in how a value is chosen.
"""

from __future__ import annotations

import difflib
import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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
    read_yaml,
    stem,
)
from searchspace.errors import UserError
from searchspace.schema import OptionValue
from searchspace.space_file import NONE, SpaceFile, StageSpec, parse_space, width_sequences

Choices = dict[str, Any]
Choose = Callable[[str, Sequence[Any]], Any]

_FOLDER = Path(__file__).parent / "spaces"
# An axis of more integers than this is a size: drawn evenly in its logarithm, and varied in steps.
SIZES = 8
STEP = 1.5  # greatest factor of one step along a size


class Trial(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Return an integer from `low` to `high`, a number of steps above `low`."""
        ...


class SearchSpace:
    """A set of architectures.

    Attributes:
        name: its name.
        spec: what its file says, validated.
    """

    def __init__(self, spec: SpaceFile) -> None:
        self.spec = spec
        self.name = spec.name
        self._allowed: dict[tuple[int, int, int | None], tuple[int, ...]] = {}

    @classmethod
    def load(cls, name: str | Path) -> SearchSpace:
        """Return a shipped space by name, or one from a YAML file.

        Raises:
            UserError: where there is none, or its file is not a space; names the field.
        """
        text = str(name)
        known = space_names()
        if text in known:
            path = _FOLDER / f"{text}.yaml"
        else:
            path = Path(text)
            if path.suffix not in (".yaml", ".yml") and not path.is_file():
                near = difflib.get_close_matches(text, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
                raise UserError(f"{text}: no such space; {hint} (or give a YAML file)")
        data = read_yaml(path, "space")
        try:
            return cls(parse_space(data, default_name=path.stem))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None

    @cached_property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """All axes with more than one value, by name, in a fixed order."""
        found: dict[str, tuple[Any, ...]] = {}

        def add(name: str, values: Sequence[Any]) -> None:
            if len(values) > 1:
                found[name] = tuple(values)

        spec = self.spec
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
            for name, values in self.axes.items()
            if len(values) > SIZES and all(type(value) is int for value in values)
        )

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return a random architecture.

        Each active axis is uniform over its values, but sizes are uniform in their logarithm: what
        a width or a depth is worth goes with its ratio to others.
        """
        return self._construct(self._drawing(rng))

    def suggest(self, trial: Trial) -> Architecture:
        """Return the architecture that an Optuna trial proposes; one parameter an axis.

        Sizes are integers, which move to the nearest allowed value; all else is categorical. Values
        that Optuna's storages can't hold (lists) travel as text.
        """

        def choose(name: str, values: Sequence[Any]) -> Any:
            every = self.axes[name]
            if name in self.sizes:
                step = math.gcd(*(value - every[0] for value in every))
                return trial.suggest_int(name, min(every), max(every), step=step)
            labels = [label(value) for value in every]
            return every[labels.index(trial.suggest_categorical(name, labels))]

        return self._construct(choose)

    def mutate(
        self, architecture: Architecture, rng: np.random.Generator, changes: int = 1
    ) -> Architecture:
        """Return a member that differs from another in `changes` axes (and those they open).

        A size takes one step. Widths that the shape does not allow any more move as far as they
        have to.

        Raises:
            UserError: where the architecture is not in the space.
        """
        choices = self._required_choices(architecture)
        free = list(self._alternatives(choices))
        picked = rng.choice(len(free), size=min(changes, len(free)), replace=False)
        changed = {free[int(i)] for i in picked}
        draw = self._drawing(rng)

        def choose(name: str, values: Sequence[Any]) -> Any:
            if name not in choices:
                return draw(name, values)
            others = self._others(name, values, choices[name]) if name in changed else []
            return others[int(rng.integers(len(others)))] if others else choices[name]

        return self._construct(choose)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield the members that differ in one axis, sizes by one step (and what that opens).

        Raises:
            UserError: where the architecture is not in the space.
        """
        choices = self._required_choices(architecture)
        for changed, others in self._alternatives(choices).items():
            for other in others:
                made = self._construct(partial(_given, {**choices, changed: other}))
                if made != architecture:  # as with a tail of the blocks' own type
                    yield made

    def ends(self, architecture: Architecture) -> dict[str, tuple[str, int]]:
        """Return the sizes of a member that are the least or the most that the space has.

        Returns:
            For each such axis `least` or `most`, and the value. Widths are held against what the
            shape allows at their stride, whatever the width before them.

        Raises:
            UserError: where the architecture is not in the space.
        """
        choices = self._required_choices(architecture)
        found: dict[str, tuple[str, int]] = {}
        stride = architecture.stem.stride
        for index, stage in enumerate(architecture.stages, 1):
            stride *= 1 if stage.downsample is None else 2
            name = f"stage{index}.width"
            if name in self.sizes:
                allowed = self._widths(index - 1, stride, None)
                found |= _end(name, allowed, stage.width)
        for name in choices.keys() & self.sizes:
            if not name.endswith(".width"):
                found |= _end(name, self.axes[name], choices[name])
        return dict(sorted(found.items()))

    def crossover(
        self, first: Architecture, second: Architecture, rng: np.random.Generator
    ) -> Architecture:
        """Return a member that takes each axis from one of two parents.

        Raises:
            UserError: where a parent is not in the space.
        """
        parents = (self._required_choices(first), self._required_choices(second))

        def choose(name: str, values: Sequence[Any]) -> Any:
            given = [p[name] for p in parents if name in p]
            pool = given or values
            return pool[int(rng.integers(len(pool)))]

        return self._construct(choose)

    def choices(self, architecture: Architecture) -> Choices | None:
        """Return the value of each active axis, or None where it is not in the space."""
        raw = self._read(architecture)
        if raw is None:
            return None
        picked, axes = Choices(), self.axes

        def choose(name: str, values: Sequence[Any]) -> Any:
            value = raw.get(name)
            if value not in values:
                raise _NotInSpaceError
            if name in axes:
                picked[name] = value
            return value

        try:
            same = self._construct(choose, whole=True) == architecture
        except (_NotInSpaceError, UserError):
            return None
        return picked if same else None

    def __contains__(self, architecture: object) -> bool:
        return isinstance(architecture, Architecture) and self.choices(architecture) is not None

    def nearest(self, architecture: Architecture) -> Architecture:
        """Return a member like another architecture: the nearest value on every axis."""
        raw = self._read(architecture) or {}

        def choose(name: str, values: Sequence[Any]) -> Any:
            value = raw.get(name, values[0])
            if value in values:
                return value
            return nearest_value(values, value)

        return self._construct(choose, whole=True)

    def encode(self, architectures: Sequence[Architecture]) -> NDArray[np.int16]:
        """Return the index of each axis's value, (n, axes); -1 where an axis is inactive.

        Raises:
            UserError: where an architecture is not in the space.
        """
        names = {
            name: (i, {label(v): k for k, v in enumerate(values)})
            for i, (name, values) in enumerate(self.axes.items())
        }
        codes = np.full((len(architectures), len(names)), -1, np.int16)
        for row, architecture in enumerate(architectures):
            for name, value in self._required_choices(architecture).items():
                column, index = names[name]
                codes[row, column] = index[label(value)]
        return codes

    def decode(self, code: NDArray[np.int16]) -> Architecture:
        """Return the architecture of one row of `encode`."""
        axes = self.axes
        columns = {name: i for i, name in enumerate(axes)}
        return self._construct(
            lambda name, values: axes[name][int(code[columns[name]])] if name in axes else values[0]
        )

    def size(self) -> int:
        """Return how many architectures the space has."""
        spec = self.spec
        down = sum(_combinations(o) for o in spec.downsamples.values())
        total = 0
        for count in spec.counts:
            stages = [self._stage_size(stage) for stage in spec.stages[:count]]
            rest = math.prod(stages) * down ** (count - 1)
            for type_, entry in spec.stems.items():
                widths = sum(
                    width_sequences(spec, count, type_, stride, width)
                    for stride in entry.stride
                    for width in entry.width or (None,)
                )
                variants = widths * _combinations(entry.options)
                total += variants * rest * (down if entry.width else 1)
        return total * len(spec.resolution) * sum(_combinations(o) for o in spec.heads.values())

    def _stage_size(self, stage: StageSpec) -> int:
        """Return how many stages there are of one width."""
        total = 0
        for type_ in stage.blocks:
            tails = sum(
                len(stage.tail_depth) * _combinations(self.spec.blocks[tail])
                for tail in stage.tails
                if tail not in (NONE, type_)
            )
            # A tail of the block's own type is no tail.
            plain = 1 if any(t in (NONE, type_) for t in stage.tails) else 0
            total += _combinations(self.spec.blocks[type_]) * (tails + plain)
        return total * len(stage.depth)

    def _required_choices(self, architecture: Architecture) -> Choices:
        choices = self.choices(architecture)
        if choices is None:
            name = architecture.name or architecture.digest()
            raise UserError(f"{name}: not in the space {self.name}")
        return choices

    def _drawing(self, rng: np.random.Generator) -> Choose:
        def draw(name: str, values: Sequence[Any]) -> Any:
            if name in self.sizes:
                drawn = values[0] * (values[-1] / values[0]) ** rng.random()
                above = bisect_left(values, drawn)
                return nearest_value(values[max(0, above - 1) : above + 1], drawn)
            return values[int(rng.integers(len(values)))]

        return draw

    def _others(self, name: str, values: Sequence[Any], value: Any) -> list[Any]:
        """Return what one step of variation may put in the place of a value."""
        others = [other for other in values if other != value]
        if name not in self.sizes:
            return others
        near = [v for v in others if max(v, value) <= STEP * min(v, value)]
        return near if len(near) > 1 else sorted(others, key=lambda v: abs(v - value))[:2]

    def _alternatives(self, choices: Choices) -> dict[str, list[Any]]:
        """Return each active axis that can change alone, with what its value can change to."""
        found: dict[str, list[Any]] = {}

        def choose(name: str, values: Sequence[Any]) -> Any:
            found[name] = self._others(name, values, choices[name])
            return choices[name]

        self._construct(choose)
        return found

    def _widths(self, index: int, stride: int, before: int | None) -> tuple[int, ...]:
        key = index, stride, before
        if key not in self._allowed:
            values = self.spec.stages[index].width
            self._allowed[key] = self.spec.shape.allowed(values, stride, before)
        return self._allowed[key]

    def _construct(self, choose: Choose, whole: bool = False) -> Architecture:
        """Walk over the active axes and build what is chosen.

        Args:
            choose: picks a value of a named axis. A number that is not allowed moves to the nearest
                that is.
            whole: also ask about axes with one value.
        """
        spec = self.spec

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
        for index in range(count):
            stage, at = spec.stages[index], f"stage{index + 1}"
            enters = stage_width is not None
            reduction *= 2 if enters else 1
            stage_width = pick(f"{at}.width", self._widths(index, reduction, stage_width))
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
            head=_head(head_type, options(f"head.{head_type}", spec.heads[head_type])),
        )

    def _read(self, architecture: Architecture) -> Choices | None:
        """Return the axis values that an architecture's structure shows, allowed or not."""
        if len(architecture.stages) > len(self.spec.stages):
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
            if NONE not in self.spec.stages[index].tails:
                raw[f"{at}.tail"] = main.type
            if len(stage.blocks) == 2:
                tail = stage.blocks[1]
                raw[f"{at}.tail"], raw[f"{at}.tail_depth"] = tail.type, tail.depth
                raw |= {f"{at}.tail.{tail.type}.{k}": v for k, v in tail.options}
        return raw


class _NotInSpaceError(Exception):
    pass


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


def _end(name: str, values: Sequence[int], value: int) -> dict[str, tuple[str, int]]:
    """Return whether a value is the least or the most of an axis; nothing where it is neither."""
    if value == max(values):
        return {name: ("most", value)}
    return {name: ("least", value)} if value == min(values) else {}


def _combinations(options: Mapping[str, tuple[OptionValue, ...]]) -> int:
    return math.prod(len(values) for values in options.values())


def _given(choices: Choices, name: str, values: Sequence[Any]) -> Any:
    return choices.get(name, values[0])


def nearest_value(values: Sequence[Any], value: Any) -> Any:
    """Return the number nearest to another by ratio; the first value where they aren't numbers."""
    if not all(isinstance(v, int | float) for v in (*values, value)):
        return values[0]
    return min(values, key=lambda v: abs(math.log(max(v, 1e-9) / max(value, 1e-9))))


def label(value: Any) -> Any:
    """Return an axis value as Optuna stores it: lists as text."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def space_names() -> tuple[str, ...]:
    """Return the names of the shipped spaces."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
