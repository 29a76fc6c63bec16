"""The networks that a step of supernet training takes: the sandwich rule, with fair draws of types.

Networks are drawn through the interface that spaces have for Optuna. Axes that choose between
separate weights (stem, block, tail, downsampling and head types, stage counts) are dealt from
shuffled decks, so that each choice is trained equally often, as in FairNAS (Chu et al.,
arXiv 1907.01845); a uniform draw leaves some types behind. The other axes are uniform.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from searchspace import Architecture, SearchSpace
from searchspace.resolution import Resolution, height_width, reduced, squared
from searchspace.supernet.slots import signature
from searchspace.units import ANY_SIZE, Unit, units

REDRAWS = 12
Rule = Callable[[str, Sequence[Any]], Any]  # chooses among the values of an axis, by its name
_DEPTH = re.compile(r"stage\d+\.(tail_)?depth")
_DEALT = re.compile(r"stages|stem|head|stage\d+\.(block|tail|downsample)")


@dataclass(frozen=True)
class Sandwich:
    """The networks of one step: the first is the largest and teaches the others."""

    teacher: Architecture
    students: tuple[Architecture, ...]


class Sampler:
    """Draws the networks of each step, the same whenever it is asked for the same steps in turn.

    The largest, the smallest and some random members a step, after the sandwich rule (Yu and Huang,
    arXiv 1903.05134), each with block types of its own.

    Args:
        space: the space.
        seed: fixes every draw.
        random_networks: random members a step, beside the largest and the smallest.
        cost_limit: largest cost (`cost_of`) of a network; dearer draws are repeated. None for all.
        fair: whether types are dealt; otherwise they are uniform, for comparison.
        warmup_steps: steps of the warm-up of elastic sizes: the first half takes the largest
            networks alone, the second opens the depths too, and all sizes are open after it, in
            the order of Once-for-All's progressive shrinking (Cai et al., arXiv 1908.09791). Types
            are dealt throughout. 0 opens everything at once.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int,
        random_networks: int = 2,
        cost_limit: float | None = None,
        fair: bool = True,
        warmup_steps: int = 0,
    ) -> None:
        self._space = space
        self._seed = seed
        self._random_networks = random_networks
        self._limit = cost_limit
        self._fair = fair
        self._warmup_steps = warmup_steps
        self.dealt: dict[str, int] = {}

    def sandwich(self, step: int) -> Sandwich:
        """Return the networks of a step."""
        rng = random.Random(f"{self._seed}/{step}")
        largest = self._draw(rng, _last)
        if self.networks(step) == 1:
            return Sandwich(largest, ())
        free: Rule = _any(rng)
        least: Rule = _first
        if step < self._warmup_steps:
            free, least = _of_depths(free), _of_depths(least)
        others = [self._draw(rng, free) for _ in range(self._random_networks)]
        return Sandwich(largest, (*others, self._draw(rng, least)))

    def networks(self, step: int) -> int:
        """Return how many networks a step takes."""
        return 1 if step < self._warmup_steps // 2 else self._random_networks + 2

    def state(self) -> dict[str, int]:
        """Return how often each deck was dealt from; with the seed this resumes the draws."""
        return dict(self.dealt)

    def restore(self, state: dict[str, int]) -> None:
        """Continue from `state`'s value."""
        self.dealt = dict(state)

    def _draw(self, rng: random.Random, rule: Rule) -> Architecture:
        structure: dict[str, Any] = {}

        def structural(name: str, choices: Sequence[Any]) -> Any:
            if name not in structure:
                structure[name] = self._deal(name, choices) if self._fair else rng.choice(choices)
            return structure[name]

        def attempt(rule: Rule) -> Architecture:
            def choose(name: str, choices: Sequence[Any]) -> Any:
                if _DEALT.fullmatch(name):
                    return structural(name, choices)
                return rule(name, choices)

            return self._space.suggest(_Chooser(choose))

        best = attempt(rule)
        if self._limit is None or cost_of(best) <= self._limit:
            return best
        # The types stay as dealt; sizes are drawn anew: the first that fits, or of the largest
        # kind the dearest that fits.
        fitting: list[tuple[float, int, Architecture]] = []
        cheapest = (cost_of(best), best)
        for number in range(REDRAWS):
            other = attempt(_any(rng))
            cost = cost_of(other)
            cheapest = min(cheapest, (cost, other), key=lambda pair: pair[0])
            if cost <= self._limit:
                if rule is not _last:
                    return other
                fitting.append((cost, number, other))
        return max(fitting)[2] if fitting else cheapest[1]

    def _deal(self, name: str, choices: Sequence[Any]) -> Any:
        count = self.dealt.get(name, 0)
        self.dealt[name] = count + 1
        pack, at = divmod(count, len(choices))
        deck = list(choices)
        random.Random(f"{self._seed}/{name}/{pack}").shuffle(deck)
        return deck[at]


def cost_of(architecture: Architecture) -> float:
    """Return a network's approximate multiply-accumulates, in millions, at its resolution.

    Parameters times output positions, summed over the parts: products between tokens are left out,
    and nothing has to be traced.
    """
    total = 0.0
    for placed in units(architecture):
        unit = placed.unit
        if unit.role in ("layout", "head"):
            continue
        size = unit.size
        if unit.role == "stem":
            stride = dict(unit.options)["stride"]
            assert isinstance(stride, int)
            size = reduced(size, stride)
        elif unit.role == "downsample":
            size = reduced(size, 2)
        total += _weights(replace(unit, size=ANY_SIZE)) * math.prod(size)
    return total / 1e6


def resolution_of(
    architecture: Architecture, space: SearchSpace, largest: Resolution
) -> Resolution:
    """Return the resolution that a member sees where the space's largest sides are shrunk.

    Supernets of small images train below the resolutions of their space; members keep their
    proportions.
    """
    ends = [max(sides) for sides in zip(*map(height_width, space.spec.resolution), strict=True)]
    own, shrunk = height_width(architecture.resolution), height_width(largest)
    height, width = (round(s * r / end) for s, r, end in zip(shrunk, own, ends, strict=True))
    return squared((height, width))


@lru_cache(maxsize=1 << 14)
def _weights(unit: Unit) -> int:
    tensors = signature(unit).values()
    return sum(math.prod(shape) for shape, _, own in tensors if own and len(shape) >= 2)


class _Chooser:
    """What a space needs of an Optuna trial."""

    def __init__(self, choose: Callable[[str, Sequence[Any]], Any]) -> None:
        self._choose = choose

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._choose(name, choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1) -> int:
        value: int = self._choose(name, range(low, high + 1, step))
        return value


def _magnitude(value: Any) -> float:
    """Order values by size; lists travel as text and count by their sum."""
    if isinstance(value, str):
        return sum(float(part) for part in value.split(","))
    return float(value)


def _first(name: str, choices: Sequence[Any]) -> Any:
    return min(choices, key=_magnitude)


def _last(name: str, choices: Sequence[Any]) -> Any:
    return max(choices, key=_magnitude)


def _any(rng: random.Random) -> Rule:
    return lambda name, choices: rng.choice(choices)


def _of_depths(rule: Rule) -> Rule:
    """Return a rule for depths alone; other sizes are the largest."""
    return lambda name, choices: (rule if _DEPTH.fullmatch(name) else _last)(name, choices)
