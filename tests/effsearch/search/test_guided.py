"""The planner for slow scores: its surrogate, its choice of what to score, and what that finds."""

from functools import partial

import numpy as np
import pytest

from effsearch.search.candidates import SAMPLED, Candidate, Outcome, Record
from effsearch.search.evaluation import EvaluatorSpec
from effsearch.search.guided import GuidedPlanner
from effsearch.search.pareto import hypervolume
from effsearch.search.surrogate import Columns, Surrogate, most_promising
from searchspace import SearchSpace

BUDGET_MS = 1.0


@pytest.fixture(scope="module")
def space():
    return SearchSpace.load("small")


@pytest.fixture(scope="module")
def evaluator():
    return EvaluatorSpec("iphone12", "imagenet", 0.8).make()


@pytest.fixture(scope="module")
def members(space):
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(160)]


def free(space, evaluator, codes):
    outcomes = evaluator([space.decode(code) for code in codes])
    return np.array([[o.quantile_ms] for o in outcomes]).reshape(-1, 1)


def screened(space, evaluator, budget_ms, codes):
    ms = free(space, evaluator, codes)
    return np.hstack([np.maximum(ms / budget_ms - 1, 0), ms])


def test_a_surrogate_knows_what_it_saw_and_ranks_what_it_did_not(space, evaluator, members):
    codes = space.encode(members)
    x = Columns(space)(codes, free(space, evaluator, codes))
    y = np.array([o.lower_bound for o in evaluator(members)])
    surrogate = Surrogate(x[:120], y[:120])
    mean, std = surrogate.predict(x[:120])
    assert np.sqrt(np.mean((mean - y[:120]) ** 2)) < 0.2 * y.std()
    unseen, doubt = surrogate.predict(x[120:])
    assert np.corrcoef(unseen, y[120:])[0, 1] > 0.9
    assert np.median(doubt) > np.median(std)
    assert np.mean(np.abs(unseen - y[120:]) < 3 * doubt) > 0.8


def test_features_tell_members_apart_and_share_columns(space, members):
    codes, columns = space.encode(members), Columns(space)
    rows = columns(codes, np.ones((len(members), 1)))
    different = len({m.digest() for m in members})
    assert len(np.unique(rows, axis=0)) == different
    alone = columns(codes[:1], np.ones((1, 1)))
    assert np.array_equal(alone[0], rows[0])


@pytest.mark.parametrize("seed", range(5))
def test_the_first_choice_adds_most_hypervolume(seed):
    rng = np.random.default_rng(seed)
    front = rng.uniform(0, 1, 12), rng.uniform(0, 1, 12)
    scores, costs = rng.uniform(0, 1.2, 40), rng.uniform(0, 1, 40)
    floor = min(front[0].min(), scores.min())

    def volume(extra):
        return hypervolume(
            np.append(front[0], scores[extra]), np.append(front[1], costs[extra]), floor, 1.0
        )

    chosen = most_promising(scores, costs, front, 1.0, 5)
    assert volume(chosen[:1]) == pytest.approx(max(volume([i]) for i in range(40)))
    volumes = [volume(chosen[: i + 1]) for i in range(len(chosen))]
    assert volumes == sorted(set(volumes))
    worse = front[0].min() - 1 - scores
    assert most_promising(worse, costs * 0 + 2.0, front, 1.0, 5) == []


def records_of(candidates, evaluator, start=0):
    outcomes = evaluator([c.architecture for c in candidates])
    return [
        Record(start + i, 0, c, o, {"latency": o.quantile_ms / BUDGET_MS - 1})
        for i, (c, o) in enumerate(zip(candidates, outcomes, strict=True))
    ]


def planner(space, evaluator, seed=0, budget_ms=BUDGET_MS, trials=120):
    screen = partial(screened, space, evaluator, budget_ms)
    return GuidedPlanner(space, seed, trials, screen, budget_ms)


def searched(space, evaluator, seed=0, trials=120):
    found, batch = [], 0
    while candidates := planner(space, evaluator, seed, trials=trials).plan(batch, found):
        found += records_of(candidates, evaluator, len(found))
        batch += 1
    return found


def test_it_finds_more_than_as_many_at_random_and_scores_little_beyond_the_budget(
    space, evaluator, members
):
    found, *others = (searched(space, evaluator, seed) for seed in range(3))
    assert len(found) == 120
    assert len({r.candidate.digest for r in found}) == 120
    chance = records_of([Candidate(m, SAMPLED) for m in members[:120]], evaluator)
    rival, *best = (
        max(r.outcome.lower_bound for r in records if r.feasible)
        for records in (chance, found, *others)
    )
    assert np.mean(best) > rival + 0.5
    drawn = [r for r in found if r.candidate.origin != "published" and r.candidate.source == ""]
    assert np.mean([r.feasible for r in drawn]) > 0.95


def test_same_seed_same_plan_whoever_plans(space, evaluator):
    first = searched(space, evaluator, trials=80)
    assert [r.candidate.digest for r in searched(space, evaluator, trials=80)] == [
        r.candidate.digest for r in first
    ]


def test_where_all_failed_it_draws_again(space, evaluator, members):
    failed = [Record(0, 0, Candidate(members[0], SAMPLED), Outcome(error="x"), {})]
    drawn = planner(space, evaluator).evolved(np.random.default_rng(0), failed, set(), 4)
    assert len(drawn) == 4


def test_a_budget_that_nothing_meets_leads_to_what_is_fastest(space, evaluator, members):
    rng = np.random.default_rng(0)
    records = records_of([Candidate(m, SAMPLED) for m in members[:40]], evaluator)
    planned = planner(space, evaluator, budget_ms=1e-3).evolved(rng, records, set(), 5)
    planned_ms = free(space, evaluator, space.encode([c.architecture for c in planned]))
    assert np.median(planned_ms) < np.median([r.outcome.quantile_ms for r in records])


def test_a_limit_that_is_no_latency_is_met_too(space, evaluator, members):
    """Here the screen says that only networks of few parameters meet the limits."""
    few = 2_000_000

    def screen(codes):
        outcomes = evaluator([space.decode(code) for code in codes])
        excess = [max(0.0, o.params / few - 1) for o in outcomes]
        return np.column_stack([excess, free(space, evaluator, codes)])

    plan = GuidedPlanner(space, 0, 120, screen, BUDGET_MS)
    rng = np.random.default_rng(0)
    records = records_of([Candidate(m, SAMPLED) for m in members[:40]], evaluator)
    for planned in (plan.evolved(rng, records, set(), 5), plan.sampled(rng, set(), 5)):
        assert all(o.params <= few for o in evaluator([c.architecture for c in planned]))
