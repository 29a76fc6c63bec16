"""Many workers in virtual time: what is true whatever the planner does, and what the page says."""

import math

import pytest

from effsearch.search.evaluation import EvaluatorSpec
from results.search.known_front import Truth
from results.search.simulate_workers import simulated
from results.search.workers_report import medians, page
from searchspace import SearchSpace


@pytest.fixture(scope="module")
def evaluator():
    return EvaluatorSpec("iphone12", "imagenet", 0.8).make()


@pytest.fixture(scope="module")
def truth(evaluator):
    return Truth(SearchSpace.load("tiny"), evaluator)


@pytest.mark.parametrize("workers", [1, 40])
def test_work_takes_its_time_and_is_shared_by_all(truth, evaluator, workers):
    found = simulated(truth, evaluator, workers, 0, 150)
    scored, times, shares = zip(*found.curve, strict=True)
    assert list(shares) == sorted(shares)
    assert list(times) == sorted(times)
    assert shares[-1] <= 1
    # A score takes exp(0.5**2 / 2) = 1.13 on average, and workers are never idle.
    expected = math.exp(0.125) * scored[-1] / workers
    assert expected / 1.6 < times[-1] < expected * 1.6
    assert simulated(truth, evaluator, workers, 0, 150) == found


def test_a_search_that_did_not_arrive_counts_as_infinite_and_says_so():
    def row(workers, scored, time):
        return {"workers": workers, "seed": 0, "scored": scored, "time": time, "curve": []}

    times = {"trials": 400, "claim_ms": 30.0, "tell_ms": 20.0, "look_ms": 10.0}
    found = {
        "command": "c", "machine": {"load_average": [1.0], "cores": 2}, "members": 9, "spread": 0.5,
        "share": 16, "scored_at_most": 3000, "price_cpu_ms_each": 5.0,
        "asking": [{"scored": 800, "batch": b, "cpu_ms_each": ms} for b, ms in ((8, 15), (64, 5))],
        "storing": {"SQLite": {"rows": [times], "claimed": 200, "look_ms": 100.0}},
        "rows": [row(1, 100, 110.0), row(8, 200, 22.0), row(1000, None, None)],
    }  # fmt: skip
    assert [r["scored"] for r in medians(found)] == [100, 200, math.inf]
    text = page(found)
    assert "| 8 | 200 | 22.0 | 5.0 times |" in text
    assert "| 1000 | not in 3,000 | | |" in text
    assert "8 workers need 2.0 times as many scores as one" in text
    assert "50 candidates a second in batches of 8, 100 in batches of 64" in text
