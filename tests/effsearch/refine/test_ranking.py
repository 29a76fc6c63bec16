from __future__ import annotations

import math
from itertools import permutations

import pytest
from scipy.stats import kendalltau

from effsearch.refine.ranking import (
    FAILED,
    FINISHED,
    STOPPED,
    Training,
    agreement,
    difference,
    level,
    rank,
    standard_error,
    sureness,
    undecided,
)


def training(name, *top1, state=FINISHED):
    return Training(name, tuple(enumerate(top1, 1)), state)


def names(trainings):
    return [t.digest for t in rank(trainings)]


def test_finished_ones_are_ordered_by_their_last_epoch():
    assert names([training("a", 50, 60), training("b", 10, 70)]) == ["b", "a"]
    assert names([training("a", 10, 60), training("b", 20, 60)]) == ["a", "b"]


def test_a_stopped_one_is_placed_by_the_epoch_where_it_stopped():
    full = [training("a", 30, 70), training("b", 20, 60), training("c", 10, 50)]
    assert names([*full, training("s", 15, state=STOPPED)]) == ["a", "b", "s", "c"]
    assert names([*full, training("s", 5, state=STOPPED)]) == ["a", "b", "c", "s"]
    # Where the orders contradict each other, the lowest of the best places.
    late = [training("x", 10, 80), training("y", 20, 70)]
    assert names([*late, training("s", 15, state=STOPPED)]) == ["x", "y", "s"]


def test_running_first_is_no_merit():
    lucky = training("first", 10, 20)
    others = [training("b", 40, 60), training("s", 30, state=STOPPED)]
    assert names([lucky, *others]) == ["b", "s", "first"]


def test_equals_keep_their_order_and_failures_have_none():
    same = [training(n, 10, state=STOPPED) for n in "abc"]
    assert names(same) == ["a", "b", "c"]
    assert names([training("f", 90, state=FAILED), training("a", 10)]) == ["a"]


def test_agreement_counts_pairs_and_chance_exactly():
    names_ = "abcd"
    everything = [agreement(names_, [[n] for n in p]) for p in permutations(names_)]
    for found in everything:
        as_good = sum(other.kept >= found.kept for other in everything)
        assert found.chance == pytest.approx(as_good / 24)
        assert found.tau == pytest.approx((2 * found.kept - found.pairs) / found.pairs)
    assert agreement(names_, names_).tau == 1
    assert math.isnan(agreement("a", "a").tau)


def test_equals_are_no_agreement():
    trainings = [training("a", 50, 60), training("b", 40, 60), training("c", 30, 50)]
    groups = [[t.digest for t in group] for group in level(rank(trainings))]
    assert groups == [["a", "b"], ["c"]]
    found = agreement("abc", groups)
    assert (found.kept, found.level, found.pairs) == (2, 1, 3)
    assert found.tau == pytest.approx(kendalltau([1, 2, 3], [1, 1, 2]).statistic)
    assert found.chance == pytest.approx(1 / 3)
    assert "1 came out level" in sureness(found)
    same = agreement("abc", ["abc"])
    assert math.isnan(same.tau)
    assert same.chance == 1
    assert "all networks level" in sureness(same)


def test_many_networks_are_compared_with_random_orders():
    names_ = "abcdefghijkl"
    swapped = ["b", "a", *names_[2:]]
    found = agreement(names_, swapped)
    assert found.tau == pytest.approx(kendalltau(range(12), [1, 0, *range(2, 12)]).statistic)
    assert found.chance < 1e-3
    again = agreement(names_, [*names_[6:], *names_[:6]])
    exact = kendalltau(range(12), [*range(6, 12), *range(6)], alternative="greater", method="exact")
    assert again.chance == pytest.approx(exact.pvalue, abs=0.01)


def test_sureness_is_plain():
    few = sureness(agreement("abc", "abc"))
    assert "+1.00 over 3 networks: 3 of 3 pairs" in few
    assert "17 % of all cases" in few
    assert "says little" in few
    many = sureness(agreement("abcdef", "abcdef"))
    assert "better than chance" in many
    assert "no order to compare" in sureness(agreement("a", "a"))


def test_errors_come_from_the_number_of_images():
    assert standard_error(50, 2500) == pytest.approx(1.0, rel=1e-3)
    assert 0 < standard_error(100, 100) < 1
    first, second = training("a", 60, 80), training("b", 50, state=STOPPED)
    found = difference(first, second, 1000)
    assert (found["epoch"], found["top1"]) == (1, 10)
    assert found["low"] < 10 < found["high"]
    assert undecided([first, second, training("c", 51, 52)], 1000) == (1, 3)
