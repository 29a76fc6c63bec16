from __future__ import annotations

import numpy as np
import pytest

from effsearch.run.request import SearchRequest
from effsearch.search.candidates import NEAREST, PUBLISHED, SAMPLED, SCALED, Candidate, Record
from effsearch.search.planner import INITIAL, Planner, published
from searchspace import SearchSpace, zoo


def evaluated(candidates, evaluator, asked, batch=0):
    found = []
    for number, candidate in enumerate(candidates):
        outcome = evaluator.evaluate(candidate.architecture)
        found.append(Record(number, batch, candidate, outcome, asked.limits.excess(outcome)))
    return found


def test_published_networks_come_first_then_their_nearest(tiny):
    rng = np.random.default_rng(5)
    starts = [Candidate(tiny.sample(rng), SCALED, "a start") for _ in range(5)]
    planned = Planner(tiny, 0, 400, starts=starts).plan(0, [])
    assert [c.source for c in planned[:16]] == list(zoo.names())
    assert all(c.origin == PUBLISHED and not c.member for c in planned[:16])
    origins = [c.origin for c in planned[16:]]
    assert origins == sorted(origins, key=[NEAREST, SCALED, SAMPLED].index)
    assert all(c.architecture in tiny for c in planned[16:])
    assert origins.count(SCALED) == len({c.digest for c in starts})
    inside = Planner(tiny, 0, 400, outsiders=False, starts=starts).plan(0, [])
    assert all(c.member for c in inside)


def test_published_networks_inside_the_space_are_members():
    mobile = SearchSpace.load("mobile")
    found = [c for c in published(mobile) if c.origin == PUBLISHED]
    assert len(found) == 16
    assert all(c.member and c.architecture in mobile for c in found)


def test_no_candidate_comes_twice(tiny, evaluator):
    asked = SearchRequest("toy", 0.55)
    planner = Planner(tiny, 0, 440)
    records = evaluated(planner.plan(0, []), evaluator, asked)
    following = planner.plan(1, records)
    digests = [r.candidate.digest for r in records] + [c.digest for c in following]
    assert len(digests) == len(set(digests))
    assert len(records) <= INITIAL
    assert len(digests) <= 440


def test_a_space_that_is_used_up_ends_the_search(tiny, evaluator):
    asked = SearchRequest("toy", 0.55)
    planner = Planner(tiny, 0, 10_000)
    planner.exhaustive = False
    records = []
    for batch in range(60):
        planned = planner.plan(batch, records)
        if not planned:
            break
        records += evaluated(planned, evaluator, asked, batch)
    members = [r for r in records if r.candidate.member]
    assert 0.9 * tiny.size() < len(members) <= tiny.size()
    assert batch < 59


@pytest.mark.parametrize("trials", [1, 5, 20])
def test_few_trials_are_kept_to(tiny, trials):
    assert len(Planner(tiny, 0, trials).plan(0, [])) == trials


def test_plans_depend_on_seed_and_batch_alone(tiny, evaluator):
    asked = SearchRequest("toy", 0.55)
    records = evaluated(Planner(tiny, 0, 200).plan(0, [])[:120], evaluator, asked)
    plan = [c.digest for c in Planner(tiny, 0, 200).plan(1, records)]
    np.random.default_rng(3).random()
    assert [c.digest for c in Planner(tiny, 0, 200).plan(1, records)] == plan
    assert [c.digest for c in Planner(tiny, 0, 200).plan(2, records)] != plan
    assert [c.digest for c in Planner(tiny, 1, 200).plan(1, records)] != plan
