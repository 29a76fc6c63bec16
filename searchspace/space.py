"""`SearchSpace`: what may vary, read from one YAML file; sampling, variation, membership.

Every choice is a named axis with a fixed list of values; which axes are active depends on others
(a block's options on its type). One walk over the axes (`_construct`) serves sampling, mutation,
crossover, Optuna and decoding: they differ in how a value is chosen.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, lru_cache
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
from searchspace.space_file import NONE, SpaceFile, StageSpec, parse_space

Choices = dict[str, Any]
Choose = Callable[[str, Sequence[Any]], Any]

_FOLDER = Path(__file__).parent / "spaces"


class Trial(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""
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

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return a random architecture: each active axis uniform over its values."""
        return self._construct(lambda name, values: values[int(rng.integers(len(values)))])

    def suggest(self, trial: Trial) -> Architecture:
        """Return the architecture that an Optuna trial proposes; one parameter an axis.

        Values that Optuna's storages can't hold (lists) travel as text.
        """

        def choose(name: str, values: Sequence[Any]) -> Any:
            labels = [label(value) for value in values]
            return values[labels.index(trial.suggest_categorical(name, labels))]

        return self._construct(choose)

    def mutate(
        self, architecture: Architecture, rng: np.random.Generator, changes: int = 1
    ) -> Architecture:
        """Return a member that differs from another in `changes` axes (and those they open).

        Raises:
            UserError: where the architecture is not in the space.
        """
        choices = self._required_choices(architecture)
        active = [name for name in choices if name in self.axes]
        picked = rng.choice(len(active), size=min(changes, len(active)), replace=False)
        changed = {active[int(i)] for i in picked}

        def choose(name: str, values: Sequence[Any]) -> Any:
            if name in choices and name not in changed:
                return choices[name]
            others = [v for v in values if name not in choices or v != choices[name]]
            return others[int(rng.integers(len(others)))]

        return self._construct(choose)

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
        picked: Choices = {}

        def choose(name: str, values: Sequence[Any]) -> Any:
            value = raw.get(name)
            if value not in values:
                raise _NotInSpaceError
            if len(values) > 1:
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
            if isinstance(value, int | float) and all(isinstance(v, int | float) for v in values):
                return min(values, key=lambda v: abs(math.log(max(v, 1e-9) / max(value, 1e-9))))
            return values[0]

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
        columns = {name: i for i, name in enumerate(self.axes)}
        return self._construct(
            lambda name, values: values[int(code[columns[name]])] if name in columns else values[0]
        )

    def size(self) -> int:
        """Return how many architectures the space has."""
        spec = self.spec
        down = sum(_combinations(o) for o in spec.downsamples.values())
        total = 0
        for count in spec.counts:
            stages = [self._stage_size(stage) for stage in spec.stages[:count]]
            rest = math.prod(stages) * down ** (count - 1)
            for entry in spec.stems.values():
                variants = math.prod(len(values) for _, values in entry.axes())
                total += variants * rest * (down if entry.width else 1)
        return total * len(spec.resolution) * sum(_combinations(o) for o in spec.heads.values())

    def _stage_size(self, stage: StageSpec) -> int:
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
        return total * len(stage.width) * len(stage.depth)

    def _required_choices(self, architecture: Architecture) -> Choices:
        choices = self.choices(architecture)
        if choices is None:
            name = architecture.name or architecture.digest()
            raise UserError(f"{name}: not in the space {self.name}")
        return choices

    def _construct(self, choose: Choose, whole: bool = False) -> Architecture:
        """Walk over the active axes and build what is chosen.

        Args:
            choose: picks a value of a named axis.
            whole: also ask about axes with one value.
        """
        spec = self.spec

        def pick(name: str, values: Sequence[Any]) -> Any:
            return values[0] if len(values) == 1 and not whole else choose(name, values)

        def options(prefix: str, axes: Mapping[str, tuple[OptionValue, ...]]) -> _Items:
            return tuple((o, pick(f"{prefix}.{o}", values)) for o, values in axes.items())

        resolution = pick("resolution", spec.resolution)
        count = pick("stages", spec.counts)
        stem_type = pick("stem", tuple(spec.stems))
        entry = spec.stems[stem_type]
        stem_options = {o: pick(f"stem.{stem_type}.{o}", v) for o, v in entry.axes()}
        stride = stem_options.pop("stride")
        width = stem_options.pop("width", None)
        stages = []
        for index in range(count):
            stage, at = spec.stages[index], f"stage{index + 1}"
            stage_width = pick(f"{at}.width", stage.width)
            down = None
            if index > 0 or width is not None:
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


def _combinations(options: Mapping[str, tuple[OptionValue, ...]]) -> int:
    return math.prod(len(values) for values in options.values())


def label(value: Any) -> Any:
    """Return an axis value as Optuna stores it: lists as text."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def space_names() -> tuple[str, ...]:
    """Return the names of the shipped spaces."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
