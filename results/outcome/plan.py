"""Which trainings a campaign does, in which order: breadth first, then seeds and longer recipes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from effsearch.training.cost import Cost
from effsearch.training.recipe import Recipe
from results.accuracy.campaign_worker import Task
from searchspace.resolution import Resolution


@dataclass(frozen=True)
class Candidate:
    """A network that may be trained.

    Attributes:
        path: Its architecture's YAML.
        digest: The architecture's digest.
        family: Networks of one family take turns with those of others.
        cost: Its size, by input side in px.
    """

    path: Path
    digest: str
    family: str
    cost: dict[Resolution, Cost]


def spread(candidates: Iterable[Candidate], side: Resolution) -> list[Candidate]:
    """Returns the networks with the families taking turns, each family's cheapest first.

    So the first four trainings of a round hold one network of each of four families, and a round
    that is cut short still compares families.
    """
    families: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in sorted(candidates, key=lambda c: (c.cost[side].macs, c.digest)):
        families[candidate.family].append(candidate)
    turns = [
        (turn, candidate.cost[side].macs, candidate.digest, candidate)
        for members in families.values()
        for turn, candidate in enumerate(members)
    ]
    return [candidate for *_, candidate in sorted(turns, key=lambda entry: entry[:3])]


def rounds(recipes: Sequence[Recipe], seeds: Sequence[int]) -> list[tuple[Recipe, int]]:
    """Returns (recipe, seed) in the order in which they are worth their time.

    A round trains every network once. Rounds come by cost times the seed's number, counted from 1:
    what a further seed tells is less than what the first did, and a longer recipe tells more.
    """
    keyed = [
        (image_squares(recipe) * number, number, place, recipe, seed)
        for place, recipe in enumerate(recipes)
        for number, seed in enumerate(seeds, start=1)
    ]
    return [(recipe, seed) for *_, recipe, seed in sorted(keyed, key=lambda entry: entry[:3])]


def image_squares(recipe: Recipe) -> float:
    """Returns epochs times pixels of an image, which a recipe's cost is proportional to."""
    return float(sum(recipe.pixels_at(epoch) for epoch in range(recipe.epochs)))


def trainings(
    candidates: Sequence[Candidate], recipes: Sequence[Recipe], seeds: Sequence[int]
) -> list[Task]:
    """Returns every training in the order of its worth, evaluated after each epoch."""
    return [
        Task(
            candidate.path,
            candidate.digest,
            seed,
            candidate.cost[recipe.image_side],
            recipe,
            evaluations=recipe.epochs,
        )
        for recipe, seed in rounds(recipes, seeds)
        for candidate in spread(candidates, recipe.image_side)
    ]


def remaining(tasks: Iterable[Task], done: set[tuple[str, int, str]]) -> list[Task]:
    """Returns the trainings that no row holds, in their order."""
    return [task for task in tasks if task.key not in done]
