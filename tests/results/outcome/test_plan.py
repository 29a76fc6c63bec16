"""The order of a campaign's trainings."""

from pathlib import Path

import pytest

from effsearch.training.cost import Cost
from effsearch.training.recipe import Recipe
from results.outcome.plan import Candidate, remaining, rounds, spread, trainings

SHORT = Recipe(name="short", epochs=4, image_side=64)
LONG = Recipe(name="long", epochs=12, image_side=64)


def candidate(name, family, macs):
    cost = Cost(params=1, macs=macs, elements=1)
    return Candidate(Path(f"{name}.yaml"), name, family, {64: cost})


NETWORKS = [
    candidate("a2", "a", 20),
    candidate("a1", "a", 10),
    candidate("b1", "b", 40),
    candidate("c1", "c", 30),
    candidate("c2", "c", 35),
]


def test_every_family_is_there_before_any_comes_twice():
    order = [c.digest for c in spread(NETWORKS, 64)]
    assert order == ["a1", "c1", "b1", "a2", "c2"]


def test_networks_come_before_seeds_and_seeds_before_what_costs_more():
    order = [(recipe.name, seed) for recipe, seed in rounds([LONG, SHORT], [0, 1, 2, 3])]
    assert order[:4] == [("short", 0), ("short", 1), ("long", 0), ("short", 2)]
    assert sorted(order) == sorted((r, s) for r in ("long", "short") for s in range(4))


def test_a_round_is_whole_before_the_next_begins():
    tasks = trainings(NETWORKS, [SHORT, LONG], [0, 1])
    keys = [(task.recipe.name, task.seed) for task in tasks]
    whole = [keys[start : start + 5] for start in range(0, len(keys), 5)]
    assert all(len(set(part)) == 1 for part in whole)
    assert all(task.evaluations == task.recipe.epochs for task in tasks)


@pytest.mark.parametrize("count", [0, 3, 20])
def test_what_is_done_is_not_done_again(count):
    tasks = trainings(NETWORKS, [SHORT, LONG], [0, 1])
    done = {task.key for task in tasks[:count]}
    assert remaining(tasks, done) == tasks[count:]
