import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import kendalltau

from results.accuracy import agreement

values = arrays(float, 12, elements=st.integers(-4, 4).map(float))


@settings(max_examples=60, deadline=None)
@given(values, values)
def test_tau_over_all_pairs_is_kendalls_tau_b(a, b):
    expected = kendalltau(a, b).statistic
    assert agreement.pair_tau(a, b) == pytest.approx(expected, nan_ok=True)


def test_undefined_scores_take_no_part():
    score, truth = np.array([1.0, np.nan, 2.0, 3.0]), np.array([1.0, 9.0, 2.0, 3.0])
    assert agreement.pair_tau(score, truth) == 1


def test_near_pairs_are_within_the_share_of_the_larger():
    ms = np.array([1.0, 0.91, 0.89, 2.0, 1.81])
    found = set(zip(*np.nonzero(agreement.near_pairs(ms, 0.10)), strict=True))
    expected = {
        (i, j)
        for i in range(5)
        for j in range(i + 1, 5)
        if min(ms[i], ms[j]) >= 0.9 * max(ms[i], ms[j])
    }
    assert found == expected


def test_only_pairs_of_a_group_count():
    groups = np.array([0.0, 0.0, 1.0, 1.0, -1.0, -1.0])
    pairs = agreement.same_group(groups)
    assert set(zip(*np.nonzero(pairs), strict=True)) == {(0, 1), (2, 3)}
    score, truth = np.array([1.0, 2, 9, 8, 0, 1]), np.array([1.0, 2, 3, 4, 9, 8])
    assert agreement.pair_tau(score, truth, pairs) == 0


def test_bootstrap_is_seeded_and_centred_on_tau():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=40)
    score = truth + rng.normal(size=40)
    a = agreement.bootstrap({"s": score}, truth, draws=200)["s"]
    b = agreement.bootstrap({"s": score}, truth, draws=200)["s"]
    assert np.array_equal(a, b)
    low, high = agreement.interval(a)
    assert low < agreement.pair_tau(score, truth) < high


def test_noise_lowers_the_ceiling():
    truth = np.random.default_rng(0).normal(20, 2, 50)
    ceilings = [agreement.noise_ceiling(truth, noise, draws=50) for noise in (1e-9, 0.3, 1.0)]
    assert ceilings[0] == pytest.approx(1)
    assert ceilings[0] > ceilings[1] > ceilings[2] > 0.3
