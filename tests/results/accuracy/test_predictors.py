import numpy as np
import pytest

from effsearch.accuracy.trained.scaling import from_log_odds, log_odds
from results.accuracy.predictors import PREDICTORS


@pytest.mark.parametrize("name", PREDICTORS)
def test_each_learns_what_can_be_learnt(name):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(120, 6))
    x[:, 5] = 1.0  # a column that never varies
    y = x[:, 0] - 0.5 * x[:, 1] + 0.1 * rng.normal(size=120)
    fitted = PREDICTORS[name](x[:80], y[:80])
    mean, std = fitted(x[80:])
    assert np.corrcoef(mean, y[80:])[0, 1] > 0.8
    assert mean.shape == std.shape == (40,)
    assert (std > 0).all()
    again, _ = PREDICTORS[name](x[:80], y[:80])(x[80:])
    assert np.array_equal(mean, again)


@pytest.mark.parametrize("name", PREDICTORS)
def test_noise_is_not_learnt(name):
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=60)
    mean, std = PREDICTORS[name](x[:40], y[:40])(x[40:])
    assert abs(np.corrcoef(mean, y[40:])[0, 1]) < 0.6 or mean.std() < 1e-6
    if name in ("ridge", "gaussian process"):
        assert (np.abs(mean - y[40:]) < 1.28 * std).mean() > 0.5


def test_log_odds_turn_back():
    top1 = np.array([0.5, 12.0, 50.0, 99.0])
    assert from_log_odds(log_odds(top1)) == pytest.approx(top1)
