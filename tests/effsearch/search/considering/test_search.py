"""A search by totals: what it considers, what it records, and that a seed decides it all."""

from dataclasses import replace

import numpy as np
import pytest

from effsearch.accuracy.registry import load_source
from effsearch.latency import DeviceTable
from effsearch.run.by_hand import families_of
from effsearch.search.candidates import EVOLVED, SAMPLED, SCALED
from effsearch.search.considering.families import MIXED, Families
from effsearch.search.considering.search import search_by_totals
from effsearch.search.evaluation import Evaluator
from effsearch.search.limits import Limits
from effsearch.search.parameters import enumerate_space
from searchspace import SearchSpace
from searchspace.space import space_names
from searchspace.variation import Variation

LIMITS = Limits(1.2, None, None)
TRIALS = 120


@pytest.fixture(scope="module")
def small():
    return SearchSpace.load("small")


@pytest.fixture(scope="module")
def scorer():
    return Evaluator(DeviceTable.load("iphone12"), load_source("imagenet", None), 0.8)


def searched(space, scorer, number=6000, seed=0, limits=LIMITS, **options):
    return search_by_totals(space, scorer, limits, number, TRIALS, seed, **options)


@pytest.fixture(scope="module")
def found(small, scorer):
    return searched(small, scorer)


def key(found):
    return [(r.candidate.digest, r.outcome, r.candidate.origin) for r in found.records]


def test_considered_and_recorded_are_different_numbers(found):
    assert found.considered == 6000
    assert TRIALS / 2 < len(found.records) <= TRIALS
    assert [r.number for r in found.records] == list(range(len(found.records)))
    assert len({r.candidate.digest for r in found.records}) == len(found.records)
    origins = [r.candidate.origin for r in found.records]
    assert origins.count(SAMPLED) >= 0.15 * TRIALS
    assert {EVOLVED, SCALED} <= set(origins)


def test_records_are_what_the_evaluator_says(found, scorer):
    for record in found.records[::12]:
        one = scorer.evaluate(record.candidate.architecture)
        assert record.outcome.lower_bound == pytest.approx(one.lower_bound, rel=1e-9)
        assert record.outcome.mean_ms == pytest.approx(one.mean_ms, rel=1e-9)
        assert record.excess == pytest.approx(LIMITS.excess(one), rel=1e-8)


def test_the_best_is_recorded_and_beats_what_it_began_with(found):
    fits = [r for r in found.records if r.feasible]
    best = max(r.outcome.lower_bound for r in fits if not r.candidate.by_hand)
    known = [r for r in fits if r.candidate.by_hand and r.candidate.member]
    assert best > max((r.outcome.lower_bound for r in known), default=0.0)
    sampled = [r.outcome.lower_bound for r in fits if r.candidate.origin == SAMPLED]
    assert best > max(sampled)
    assert best == pytest.approx(found.progress[-1]["best_lower_bound"], abs=1e-6)


def test_progress_goes_up(found):
    for name in ("considered", "best_lower_bound", "hypervolume"):
        values = [row[name] for row in found.progress]
        assert values == sorted(values)
        assert np.isfinite(values).all()
    assert found.progress[-1]["considered"] == found.considered


def test_a_seed_decides_it_all(small, scorer):
    first, again, other = (searched(small, scorer, 3000, seed) for seed in (1, 1, 2))
    assert key(first) == key(again)
    assert key(first) != key(other)


def test_it_stops_where_it_is_told_to(small, scorer):
    asked = []

    def stop():
        asked.append(None)
        return len(asked) == 3

    assert searched(small, scorer, stop=stop) is None
    assert len(asked) == 3


def test_a_space_that_is_used_up_ends_the_search(scorer):
    tiny = SearchSpace.load("tiny")
    limits = replace(LIMITS, budget_ms=0.6)
    found = searched(tiny, scorer, 10 * tiny.size(), limits=limits)
    assert 0.5 * tiny.size() < found.considered <= tiny.size() + 100
    best = max(
        (
            scorer.evaluate(tiny.decode(code))
            for code in Variation(tiny).sample(400, np.random.default_rng(3))
        ),
        key=lambda outcome: outcome.lower_bound if outcome.quantile_ms <= 0.6 else 0.0,
    )
    top = max(r.outcome.lower_bound for r in found.records if r.feasible)
    assert top >= best.lower_bound - 1e-9


def test_nothing_within_the_limits_records_what_is_nearest(small, scorer):
    found = searched(small, scorer, 3000, limits=replace(LIMITS, budget_ms=0.01))
    assert not any(r.feasible for r in found.records)
    evolved = [r.violation for r in found.records if r.candidate.origin == EVOLVED]
    sampled = [r.violation for r in found.records if r.candidate.origin == SAMPLED]
    assert max(evolved) <= min(sampled) + 1e-9
    assert found.progress == []


@pytest.mark.parametrize("name", space_names())
def test_families_are_those_of_the_blocks(name):
    space = SearchSpace.load(name)
    variation, rng = Variation(space), np.random.default_rng(5)
    codes = variation.sample(150, rng)
    numbers = {}
    for code, number in zip(codes, Families(space)(codes), strict=True):
        families = families_of(space.decode(code))
        assert (number == MIXED) == (len(families) > 1)
        if number != MIXED:
            assert numbers.setdefault(number, families[0]) == families[0]


@pytest.mark.parametrize(
    "limits",
    [
        Limits(0.6, also=(("epyc-zen5-1t", 0.12),)),
        Limits(0.6, max_memory_mb=0.07),
        Limits(0.6, max_size_mb=0.75, also=(("iphone13", 0.474), ("epyc-zen5-1t", 0.11))),
    ],
)
def test_the_best_within_all_limits_is_found(limits):
    """Against every network of a small space, one by one."""
    tiny = SearchSpace.load("tiny")
    others = [DeviceTable.load(name) for name in ("epyc-zen5-1t", "iphone13")]
    scorer = Evaluator(DeviceTable.load("iphone12"), load_source("imagenet", None), 0.8, others)
    everyone = scorer(list(enumerate_space(tiny)))
    fits = [o for o in everyone if all(e <= 0 for e in limits.excess(o).values())]
    looser = [o for o in everyone if o.quantile_ms <= limits.budget_ms]
    best = max(o.lower_bound for o in fits)
    assert best < max(o.lower_bound for o in looser), "the further limits do not bind"
    found = searched(tiny, scorer, 2000, limits=limits)
    records = [r for r in found.records if r.candidate.member and r.feasible]
    assert max(r.outcome.lower_bound for r in records) == pytest.approx(best, rel=1e-9)
    for record in found.records:
        one = scorer.evaluate(record.candidate.architecture)
        assert record.feasible == all(e <= 0 for e in limits.excess(one).values())
