"""Predictors of trained accuracy from an encoding: ridge, Gaussian process, trees, their mean.

All are fitted anew on every training fold, their own settings included, and none sees what it is
judged on. Targets are log odds of top-1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor

from effsearch.accuracy.features import Array
from effsearch.accuracy.trained.scaling import Scaler

_FLOOR_STD = 1e-3


Fitted = Callable[[Array], tuple[Array, Array]]
"""Predicts encodings (n, d): means and standard deviations (n,) each."""

Predictor = Callable[[Array, Array], Fitted]
"""Fits encodings (n, d) to log odds (n,)."""


def ridge(x: Array, y: Array) -> Fitted:
    """Ridge regression; its strength is the one with the least leave-one-out error."""
    scaler, mean = Scaler.of(x), float(y.mean())
    z = scaler(x)
    u, s, vt = np.linalg.svd(z, full_matrices=False)
    best: tuple[float, Array] | None = None
    for alpha in np.geomspace(0.3, 3000, 17):
        shrink = s**2 / (s**2 + alpha)
        residual = (y - mean) - (u * shrink) @ (u.T @ (y - mean))
        leverage = ((u**2) * shrink).sum(1) + 1 / len(y)
        error = float(np.mean((residual / (1 - np.minimum(leverage, 0.99))) ** 2))
        if best is None or error < best[0]:
            best = error, vt.T @ (s / (s**2 + alpha) * (u.T @ (y - mean)))
    assert best is not None
    std, weights = max(np.sqrt(best[0]), _FLOOR_STD), best[1]
    return lambda new: (mean + scaler(new) @ weights, np.full(len(new), std))


def gaussian_process(x: Array, y: Array) -> Fitted:
    """A linear and a squared-exponential kernel, by the greatest marginal likelihood.

    Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, equation 5.8.
    """
    scaler, mean, scale = Scaler.of(x), float(y.mean()), max(float(y.std()), _FLOOR_STD)
    z, target = scaler(x), (y - mean) / scale
    width = z.shape[1]
    gaps, products = _gaps(z, z), z @ z.T / width

    def kernel(theta: Array, gaps: Array, products: Array) -> Array:
        smooth, length, linear = np.exp(theta[:3])
        out: Array = smooth**2 * np.exp(-gaps / (2 * width * length**2)) + linear**2 * products
        return out

    def loss(theta: Array) -> float:
        covariance = kernel(theta, gaps, products)
        covariance += (np.exp(2 * theta[3]) + 1e-6) * np.eye(len(y))
        factor = cho_factor(covariance, lower=True)
        fit = 0.5 * float(target @ cho_solve(factor, target)) + float(
            np.log(np.diag(factor[0])).sum()
        )
        # Weak priors keep a scale that the data say nothing about near its start.
        return fit + 0.5 * float((((theta - start) / 1.5) ** 2).sum())

    start = np.log([0.5, 1.0, 0.5, 0.4])
    theta = minimize(loss, start, method="L-BFGS-B", options={"maxiter": 60}).x
    covariance = kernel(theta, gaps, products)
    noise = float(np.exp(2 * theta[3])) + 1e-6
    factor = cho_factor(covariance + noise * np.eye(len(y)), lower=True)
    weights = cho_solve(factor, target)

    def predict(new: Array) -> tuple[Array, Array]:
        there = scaler(new)
        cross = kernel(theta, _gaps(there, z), there @ z.T / width)
        own = np.exp(2 * theta[0]) + np.exp(2 * theta[2]) * (there**2).sum(1) / width
        variance = own - (cross * cho_solve(factor, cross.T).T).sum(1) + noise
        return mean + scale * (cross @ weights), scale * np.sqrt(np.maximum(variance, 1e-6))

    return predict


def _gaps(a: Array, b: Array) -> Array:
    gaps: Array = ((a[:, None] - b[None]) ** 2).sum(-1)
    return gaps


def boosted_trees(x: Array, y: Array) -> Fitted:
    """Gradient-boosted trees of depth 2 on half of the networks each, slowly."""
    model = GradientBoostingRegressor(
        n_estimators=150, learning_rate=0.05, max_depth=2, subsample=0.5, random_state=0
    ).fit(x, y)
    std = _spread(y - model.predict(x), 2.0)
    return lambda new: (model.predict(new), np.full(len(new), std))


def random_trees(x: Array, y: Array) -> Fitted:
    """Extremely randomised trees; their disagreement adds to the spread."""
    model = ExtraTreesRegressor(
        n_estimators=200, min_samples_leaf=2, max_features=0.5, random_state=0, n_jobs=1
    ).fit(x, y)
    std = _spread(y - model.predict(x), 2.0)

    def predict(new: Array) -> tuple[Array, Array]:
        each = np.array([tree.predict(new) for tree in model.estimators_])
        return each.mean(0), np.sqrt(each.var(0) / 4 + std**2)

    return predict


def _spread(residual: Array, inflation: float) -> float:
    # Residuals of trees on what they were grown on are too small.
    return max(inflation * float(residual.std()), _FLOOR_STD)


def mean_of(*members: Predictor) -> Predictor:
    """Return the predictor whose predictions are the members' mean."""

    def fit(x: Array, y: Array) -> Fitted:
        fitted = [member(x, y) for member in members]

        def predict(new: Array) -> tuple[Array, Array]:
            found = [f(new) for f in fitted]
            means = np.array([mean for mean, _ in found])
            stds = np.array([std for _, std in found])
            return means.mean(0), np.sqrt((stds**2).mean(0) + means.var(0))

        return predict

    return fit


PREDICTORS: Mapping[str, Predictor] = {
    "ridge": ridge,
    "gaussian process": gaussian_process,
    "boosted trees": boosted_trees,
    "random trees": random_trees,
    "ridge and process": mean_of(ridge, gaussian_process),
    "mean of all": mean_of(ridge, gaussian_process, boosted_trees, random_trees),
}
