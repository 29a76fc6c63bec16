"""`SearchSpace`: what may vary, read from one YAML file; sampling, variation, membership.

Sampling, mutation, crossover, Optuna and decoding are one walk over the space's axes (`SpaceAxes`):
they differ in how a value is chosen.
"""

from __future__ import annotations

import difflib
import math
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from searchspace.architecture import Architecture
from searchspace.axes import Choices, Choose, SpaceAxes, nearest_value
from searchspace.drawing import space_html, space_in_words
from searchspace.errors import UserError
from searchspace.space_file import SpaceFile, parse_space
from searchspace.space_size import space_size
from searchspace.yaml_text import read_yaml

_FOLDER = Path(__file__).parent / "spaces"
STEP = 1.5  # greatest factor of one step along a size


class Trial(Protocol):
    """The part of an Optuna trial that a space needs."""

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """Return one of the choices."""
        ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        """Return an integer from `low` to `high`, a number of steps above `low`."""
        ...


class Change(NamedTuple):
    """A member of a space that differs from another in one axis (and what that opens).

    Attributes:
        axis: the axis.
        before: its value in the other.
        after: its value here.
        architecture: the member.
    """

    axis: str
    before: Any
    after: Any
    architecture: Architecture


class SearchSpace:
    """A set of architectures.

    Attributes:
        name: its name.
        spec: what its file says, validated.
    """

    def __init__(self, spec: SpaceFile) -> None:
        self.spec = spec
        self.name = spec.name
        self._axes = SpaceAxes(spec)

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

    def __repr__(self) -> str:
        """Return the name and size in one line."""
        return f"SearchSpace({space_in_words(self)})"

    def _repr_html_(self) -> str:
        """Return a table of the axes, for notebooks."""
        return space_html(self)

    @property
    def axes(self) -> Mapping[str, tuple[Any, ...]]:
        """Values of every axis that has more than one, by name, in a fixed order."""
        return self._axes.values

    @property
    def sizes(self) -> frozenset[str]:
        """Names of the axes that are sizes: long lists of integers."""
        return self._axes.sizes

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Return a random architecture.

        Each active axis is uniform over its values, but sizes are uniform in their logarithm: what
        a width or a depth is worth goes with its ratio to others.
        """
        return self._axes.construct(self._drawing(rng))

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

        return self._axes.construct(choose)

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

        return self._axes.construct(choose)

    def changes(self, architecture: Architecture) -> Iterator[Change]:
        """Yield the members that differ in one axis, sizes by one step (and what that opens).

        Raises:
            UserError: where the architecture is not in the space.
        """
        choices = self._required_choices(architecture)
        for axis, others in self._alternatives(choices).items():
            for other in others:
                made = self._axes.construct(partial(_given, {**choices, axis: other}))
                if made != architecture:  # as with a tail of the blocks' own type
                    yield Change(axis, choices[axis], other, made)

    def neighbours(self, architecture: Architecture) -> Iterator[Architecture]:
        """Yield the architectures of `changes`."""
        return (change.architecture for change in self.changes(architecture))

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
                allowed = self._axes.widths(index - 1, stride, None)
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

        return self._axes.construct(choose)

    def choices(self, architecture: Architecture) -> Choices | None:
        """Return the value of each active axis, or None where it is not in the space."""
        raw = self._axes.read(architecture)
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
            same = self._axes.construct(choose, whole=True) == architecture
        except (_NotInSpaceError, UserError):
            return None
        return picked if same else None

    def __contains__(self, architecture: object) -> bool:
        return isinstance(architecture, Architecture) and self.choices(architecture) is not None

    def nearest(self, architecture: Architecture) -> Architecture:
        """Return a member like another architecture: the nearest value on every axis."""
        raw = self._axes.read(architecture) or {}

        def choose(name: str, values: Sequence[Any]) -> Any:
            value = raw.get(name, values[0])
            if value in values:
                return value
            return nearest_value(values, value)

        return self._axes.construct(choose, whole=True)

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
        return self._axes.construct(
            lambda name, values: axes[name][int(code[columns[name]])] if name in axes else values[0]
        )

    def size(self) -> int:
        """Return how many architectures the space has."""
        return space_size(self.spec)

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

        self._axes.construct(choose)
        return found


class _NotInSpaceError(Exception):
    pass


def _end(name: str, values: Sequence[int], value: int) -> dict[str, tuple[str, int]]:
    """Return whether a value is the least or the most of an axis; nothing where it is neither."""
    if value == max(values):
        return {name: ("most", value)}
    return {name: ("least", value)} if value == min(values) else {}


def _given(choices: Choices, name: str, values: Sequence[Any]) -> Any:
    return choices.get(name, values[0])


def label(value: Any) -> Any:
    """Return an axis value as Optuna stores it: lists as text."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


def space_names() -> tuple[str, ...]:
    """Return the names of the shipped spaces."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))
