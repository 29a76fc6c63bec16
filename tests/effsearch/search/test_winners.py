from __future__ import annotations

import dataclasses

import pytest

from effsearch.run.request import SearchRequest
from effsearch.search.candidates import ENUMERATED, PUBLISHED, Candidate, Record
from effsearch.search.parameters import enumerate_space
from effsearch.search.winners import choose_winners, difference


@pytest.fixture(scope="module")
def records(tiny, evaluator):
    asked = SearchRequest(device="toy", budget_ms=0.55)
    found = []
    for number, architecture in enumerate(enumerate_space(tiny)):
        outcome = evaluator.evaluate(architecture)
        candidate = Candidate(architecture, ENUMERATED)
        found.append(Record(number, 0, candidate, outcome, asked.limits.excess(outcome)))
    return found


def best(records):
    return max((r for r in records if r.feasible), key=lambda r: r.outcome.lower_bound)


def test_the_best_comes_first_and_the_order_is_by_lower_bound(tiny, records):
    winners = choose_winners(tiny, records, 5)
    assert winners[0].outcome.lower_bound == best(records).outcome.lower_bound
    bounds = [r.outcome.lower_bound for r in winners]
    assert bounds == sorted(bounds, reverse=True)
    assert len({r.candidate.digest for r in winners}) == 5


def test_winners_differ_more_than_the_best_scored_do(tiny, records):
    winners = [r.candidate.architecture for r in choose_winners(tiny, records, 4)]
    ranked = sorted((r for r in records if r.feasible), key=lambda r: -r.outcome.lower_bound)
    top = [r.candidate.architecture for r in ranked[:4]]

    def least(networks):
        return min(
            difference(tiny, a, b) for i, a in enumerate(networks) for b in networks[i + 1 :]
        )

    assert least(winners) > least(top)


def test_difference_is_a_distance_from_0_to_1(tiny, records):
    networks = [r.candidate.architecture for r in records[::40]]
    for a in networks:
        assert difference(tiny, a, a) == 0
        for b in networks:
            assert 0 <= difference(tiny, a, b) <= 1
            assert difference(tiny, a, b) == pytest.approx(difference(tiny, b, a))
            assert (difference(tiny, a, b) == 0) == (a == b)


def test_what_is_refused_is_replaced_by_the_next(tiny, records):
    asked = []

    def accept(record):
        asked.append(record.number)
        return len(asked) > 3

    winners = choose_winners(tiny, records, 5, accept)
    assert len(winners) == 5
    assert len(asked) == len(set(asked)) == 8
    assert not {r.number for r in winners} & set(asked[:3])


def test_fewer_fit_than_are_asked_for(tiny, records):
    few = [dataclasses.replace(r, excess={"latency": 1.0}) for r in records[3:]] + records[:3]
    expected = sum(r.feasible for r in records[:3])
    assert len(choose_winners(tiny, few, 5)) == expected
    assert choose_winners(tiny, few, 5, lambda record: False) == []


def test_a_published_network_never_wins(tiny, records):
    top = best(records)
    published = dataclasses.replace(
        top, candidate=dataclasses.replace(top.candidate, origin=PUBLISHED)
    )
    others = [r for r in records if r is not top]
    winners = choose_winners(tiny, [published, *others], 3)
    assert top.candidate.digest not in {r.candidate.digest for r in winners}
