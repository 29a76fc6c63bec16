"""The benchmark on a known front: its truth, its rivals, and that free things stay free."""

import numpy as np
import optuna
import pytest

from effsearch.search.evaluation import EvaluatorSpec
from results.search.evolution import evolution
from results.search.known_front import SPACE, Truth, of_optuna, trace
from results.search.known_front_report import page
from searchspace import SearchSpace


@pytest.fixture(scope="module")
def truth():
    return Truth(SearchSpace.load("tiny"), EvaluatorSpec("iphone12", "imagenet", 0.8).make())


def test_the_space_is_a_slice_of_mobile_and_large_enough():
    space, mobile = SearchSpace.load(SPACE), SearchSpace.load("mobile")
    rng = np.random.default_rng(0)
    assert space.size() >= 50_000
    assert all(space.sample(rng) in mobile for _ in range(50))


@pytest.mark.parametrize("kind", ["random", "evolution"])
def test_scoring_everything_within_the_budget_finds_the_whole_front(truth, kind):
    sampler = optuna.samplers.RandomSampler(seed=0)
    if kind == "random":
        proposals = of_optuna(sampler, truth.space, [])
    else:
        proposals = evolution(truth.space, [], 0)
    within = int((truth.costs <= truth.budget_ms).sum())
    row = trace(proposals, truth, within if kind == "random" else 60, 60.0)
    shares = [share for _, share, _ in row["curve"]]
    assert shares == sorted(shares)
    assert row["asked"] >= row["scored"]
    if kind == "random":
        assert row["scored"] == within
        assert row["hypervolume_share"] == 1.0
        assert row["best"] == truth.scores[truth.costs <= truth.budget_ms].max()


def test_the_page_counts_what_did_not_arrive_as_infinite():
    def row(name, goal):
        return {
            "sampler": name, "seed": 0, "scored": 400, "asked": 500, "ms_each": 1.0,
            "scored_to_goal": goal, "hypervolume_share": 0.9, "best": 70.0, "curve": [],
        }  # fmt: skip

    found = {
        "command": "c", "space": "s", "members": 10_000, "device": "d", "budget_ms": 1.0,
        "within_budget": 5000, "front": 9, "best": 71.0, "enqueued": 2,
        "rows": [row("ours", 100), row("random", None), row("NSGA-II", 200), row("NSGA-II", None)],
    }  # fmt: skip
    text = page(found)
    assert "1.00%" in text
    assert "fewer than random: over 4.0 (it did not get there)" in text
    assert "stock sampler (NSGA-II): over 4.0" in text
