from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effsearch.search.candidates import PUBLISHED, SAMPLED, Candidate, Outcome, Record
from effsearch.search.pareto import front, hypervolume, non_dominated, survivors
from searchspace import zoo

points = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=40)


def record(number, score, cost, budget=5.0, origin=SAMPLED, error=""):
    outcome = Outcome(cost, 0.1, cost, score, 0.1, score, 1, 1, error)
    candidate = Candidate(zoo.load("shvit_s1"), origin)
    return Record(number, 0, candidate, outcome, {"latency": cost / budget - 1})


@given(points)
def test_front_is_what_nothing_dominates(pairs):
    scores, costs = (np.array(column, float) for column in zip(*pairs, strict=True))
    found = {(scores[i], costs[i]) for i in non_dominated(scores, costs)}
    expected = {
        (s, c)
        for s, c in pairs
        if not any(t >= s and d <= c and (t > s or d < c) for t, d in pairs)
    }
    assert found == expected


def test_front_leaves_out_what_is_no_find():
    records = [
        record(0, 5, 2),
        record(1, 9, 1, origin=PUBLISHED),
        record(2, 8, 6),  # over the budget
        record(3, 9, 1, error="broken"),
        record(4, 6, 3),
        record(5, 4, 3),
    ]
    assert [r.number for r in front(records)] == [0, 4]


def test_survivors_prefer_what_fits_then_fronts_then_small_violations():
    records = [record(0, 1, 1), record(1, 9, 20), record(2, 3, 2), record(3, 2, 3), record(4, 9, 6)]
    chosen, ranks = survivors(records, 5)
    assert [r.number for r in chosen] == [0, 2, 3, 4, 1]
    assert ranks == sorted(ranks)
    assert survivors(records, 1)[0][0].number in (0, 2)


def test_hypervolume_of_a_staircase():
    assert hypervolume([1, 2], [1, 2], 0, 3) == pytest.approx(1 * 2 + 1 * 1)
    assert hypervolume([1, 2, 0.5], [1, 2, 2.5], 0, 3) == pytest.approx(3)
    assert hypervolume([1], [4], 0, 3) == 0
