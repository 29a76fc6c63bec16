"""Architectures as Optuna parameters: one for every active axis, integers for sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from searchspace import Architecture, SearchSpace, UserError

Params = dict[str, Any]


class _Recorder:
    """A stand-in for an Optuna trial: takes each value from a function and keeps what was asked."""

    def __init__(self, choose: Callable[[str, Sequence[Any]], Any]) -> None:
        self.choose = choose
        self.params: Params = {}
        self.distributions: dict[str, BaseDistribution] = {}

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        self.params[name] = self.choose(name, choices)
        self.distributions[name] = _categorical(tuple(choices))
        return self.params[name]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        value: int = self.choose(name, range(low, high + 1, step))
        self.params[name] = value
        self.distributions[name] = _integers(low, high, step)
        return value


@lru_cache(maxsize=4096)
def _categorical(choices: tuple[Any, ...]) -> CategoricalDistribution:
    return CategoricalDistribution(choices)


@lru_cache(maxsize=4096)
def _integers(low: int, high: int, step: int) -> IntDistribution:
    return IntDistribution(low, high, step=step)


def to_params(
    space: SearchSpace, architecture: Architecture
) -> tuple[Params, dict[str, BaseDistribution]]:
    """Return the Optuna parameters and distributions of a member of a space.

    Raises:
        UserError: where it is no member.
    """
    values = space.choices(architecture)
    if values is None:
        raise UserError(f"{architecture.name or architecture.digest()}: not in {space.name}")
    labels = {k: ",".join(map(str, v)) if isinstance(v, tuple) else v for k, v in values.items()}
    # An axis that the walk asks for, but that leaves no trace in the architecture, has no value.
    recorder = _Recorder(lambda name, choices: labels.get(name, choices[0]))
    space.suggest(recorder)
    return recorder.params, recorder.distributions


def from_params(space: SearchSpace, params: Mapping[str, Any]) -> Architecture:
    """Return the architecture of some parameters; axes that they lack take their first value.

    Raises:
        UserError: where a value is not one that the space allows.
    """

    def choose(name: str, choices: Sequence[Any]) -> Any:
        value = params.get(name, choices[0])
        if value not in choices:
            raise UserError(f"{name}: {value!r} is not in the space {space.name}")
        return value

    return space.suggest(_Recorder(choose))


def enumerate_space(space: SearchSpace) -> Iterator[Architecture]:
    """Yield every member of a (small) space once, in a fixed order."""
    seen: set[str] = set()
    prefix: list[int] = []  # index of the choice at each step of the walk
    while True:
        sizes: list[int] = []

        def choose(
            name: str, choices: Sequence[Any], sizes: list[int] = sizes, path: list[int] = prefix
        ) -> Any:
            step = len(sizes)
            sizes.append(len(choices))
            return choices[path[step] if step < len(path) else 0]

        architecture = space.suggest(_Recorder(choose))
        digest = architecture.digest()
        if digest not in seen:
            seen.add(digest)
            yield architecture
        prefix = prefix[: len(sizes)] + [0] * (len(sizes) - len(prefix))
        while prefix and prefix[-1] + 1 >= sizes[len(prefix) - 1]:
            prefix.pop()
        if not prefix:
            return
        prefix[-1] += 1
