"""Planted networks that no good score ranks above published ones of equal cost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from effsearch.accuracy.score import Score
from searchspace import Architecture, UserError, zoo
from searchspace.yaml_text import read_yaml

DATA = Path(__file__).with_name("degenerates.yaml")
EQUAL = 1.05  # costs within 5% are equal


@dataclass(frozen=True)
class Degenerate:
    """A planted network.

    Attributes:
        architecture: the network, with its name.
        why: what is wrong with it.
    """

    architecture: Architecture
    why: str


@dataclass(frozen=True)
class Place:
    """Where a degenerate comes among the published networks of equal cost.

    Attributes:
        name: of the degenerate.
        score: its score.
        rival: the published network, of those that cost no more, with the highest lower bound; the
            cheapest of all where the degenerate is cheaper still.
        rival_score: its score.
    """

    name: str
    score: Score
    rival: str
    rival_score: Score

    @property
    def margin(self) -> float:
        """How far the rival's lower bound is ahead; negative where the degenerate outranks it."""
        return self.rival_score.lower_bound - self.score.lower_bound


def load() -> tuple[Degenerate, ...]:
    """Return the planted networks.

    Raises:
        UserError: where the package's file is broken.
    """
    rows = read_yaml(DATA, "degenerates")
    if not isinstance(rows, list):
        raise UserError(f"{DATA}: not a list of degenerates")
    return tuple(
        Degenerate(Architecture.from_dict(row["architecture"]).renamed(row["name"]), row["why"])
        for row in rows
    )


def places(
    score: Callable[[Architecture], Score], cost: Callable[[Architecture], float]
) -> tuple[Place, ...]:
    """Return each degenerate's place among the published networks.

    Args:
        score: of an architecture.
        cost: of an architecture: its latency, say, or its MACs.
    """
    published = {name: zoo.load(name) for name in zoo.names()}
    costs = {name: cost(network) for name, network in published.items()}
    scores = {name: score(network) for name, network in published.items()}
    cheapest = min(costs, key=costs.__getitem__)
    found = []
    for degenerate in load():
        budget = EQUAL * cost(degenerate.architecture)
        fitting = [name for name, value in costs.items() if value <= budget] or [cheapest]
        rival = max(fitting, key=lambda name: scores[name].lower_bound)
        value = score(degenerate.architecture)
        found.append(Place(degenerate.architecture.name, value, rival, scores[rival]))
    return tuple(found)
