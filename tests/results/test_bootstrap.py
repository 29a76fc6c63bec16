import numpy as np
import pytest
from scipy.stats import kendalltau

from results.bootstrap import interval


def mean(values):
    return float(np.mean(values))


def tau(a, b):
    return float(kendalltau(a, b).statistic)


def test_the_interval_of_a_mean_is_that_of_its_standard_error():
    values = np.random.default_rng(1).normal(3.0, 2.0, 400)
    low, high = interval(mean, values, draws=4000, confidence=0.9)
    half = 1.645 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_pairs_stay_together():
    values = np.arange(20.0)
    assert interval(tau, values, values, draws=200) == pytest.approx((1.0, 1.0))


def test_the_seed_fixes_it_and_undefined_draws_are_left_out():
    a, b = [1.0, 2.0, 2.0], [1.0, 1.0, 3.0]  # a third of the draws has a constant side
    with np.errstate(all="ignore"):
        found = interval(tau, a, b, draws=300, seed=4)
        assert found == interval(tau, a, b, draws=300, seed=4)
    assert np.isfinite(found).all()
