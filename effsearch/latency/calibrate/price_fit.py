"""Prices from whole networks' latencies on one device, of which nothing else is known.

For a network with totals f,

    log t = log(floor + sum_j exp(theta_j) f_j) + noise,

with theta normal a priori (`PricePrior`) and Student's t noise. The estimate is the posterior's
mode, its covariance the inverse Gauss-Newton curvature there.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from effsearch.latency.cost_model import Array
from effsearch.latency.models.price_prior import PricePrior

TAIL = 4.0  # degrees of freedom of the noise: a reading that went wrong must not bend all prices
MIN_RESIDUAL_STD = 0.01  # repeated measurements of one network differ by about this
_MAX_STEPS = 100
_MEDIAN_OF_NORMAL = NormalDist().inv_cdf(0.75)


@dataclass(frozen=True, slots=True)
class Fit:
    """Prices and their uncertainty.

    Attributes:
        price: medians in ms for a unit of each total, (J,).
        covariance: of the prices' logarithms, (J, J).
        left_out: linearised leave-one-out errors, log of measured over predicted, (n,).
        left_out_variance: variance of log latency that prices leave for each left-out row, (n,).
    """

    price: Array
    covariance: Array
    left_out: Array
    left_out_variance: Array

    def log_ms(self, totals: Array, floor_ms: Array) -> Array:
        """Return logarithms of networks' median latencies in ms, (n,).

        Args:
            totals: of each network, (n, J).
            floor_ms: what the hardware needs at least, (n,).
        """
        return np.asarray(np.log(totals @ self.price + floor_ms))

    def variance(self, totals: Array, floor_ms: Array) -> Array:
        """Return what the prices' uncertainty adds to the variance of log latencies, (n,).

        Args:
            totals: of each network, (n, J).
            floor_ms: what the hardware needs at least, (n,).
        """
        shares = totals * self.price / (totals @ self.price + floor_ms)[:, None]
        return np.asarray(((shares @ self.covariance) * shares).sum(axis=1))


def fit(totals: Array, floor_ms: Array, latency_ms: Array, prior: PricePrior, noise: float) -> Fit:
    """Return the posterior's mode.

    Args:
        totals: of each network, (n, J).
        floor_ms: what the hardware needs at least, (n,).
        latency_ms: measured, (n,).
        prior: of the prices.
        noise: spread of log latencies around the model.
    """
    precision = np.linalg.inv(prior.covariance)
    centre = np.log(prior.price)
    observed = np.log(latency_ms)

    def evaluate(theta: Array) -> tuple[float, Array, Array]:
        parts = totals * np.exp(theta)
        mean = parts.sum(axis=1) + floor_ms
        residual = (observed - np.log(mean)) / noise
        off = theta - centre
        loss = 0.5 * (TAIL + 1) * np.log1p(residual**2 / TAIL).sum() + 0.5 * off @ precision @ off
        return float(loss), residual, parts / mean[:, None]

    # The speed first, which is free a priori: from the prior's centre the way may be far.
    theta = centre + np.median(observed - np.log(totals @ prior.price + floor_ms))
    loss, residual, shares = evaluate(theta)
    damping = 1e-3
    for _ in range(_MAX_STEPS):
        weight = (TAIL + 1) / (TAIL + residual**2) / noise**2
        curvature = (shares * weight[:, None]).T @ shares + precision
        gradient = shares.T @ (weight * residual * noise) - precision @ (theta - centre)
        while True:
            damped = curvature + damping * np.diag(np.diag(curvature))
            step = np.clip(np.linalg.solve(damped, gradient), -1.0, 1.0)
            new = evaluate(theta + step)
            if new[0] <= loss + 1e-12 or damping > 1e8:
                break
            damping *= 10
        converged = loss - new[0] < 1e-9
        theta = theta + step
        loss, residual, shares = new
        damping = max(damping / 10, 1e-9)
        if converged:
            break
    weight = (TAIL + 1) / (TAIL + residual**2) / noise**2
    covariance = np.linalg.inv((shares * weight[:, None]).T @ shares + precision)
    known = ((shares @ covariance) * shares).sum(axis=1)  # variance of each row with itself
    leverage = np.minimum(known * weight, 1 - 1e-6)
    return Fit(np.exp(theta), covariance, residual * noise / (1 - leverage), known / (1 - leverage))


def residual_std(errors: Array, variance: Array) -> float:
    """Return the spread that left-out errors have beyond what the prices' uncertainty explains.

    Args:
        errors: log of measured over predicted of left-out rows, (n,).
        variance: that the prices' uncertainty gives each, (n,).
    """
    low, high = MIN_RESIDUAL_STD, 2.0
    for _ in range(60):
        middle = (low * high) ** 0.5
        # A robust spread: half of normal errors are below 0.67 deviations.
        z = np.abs(errors) / np.sqrt(middle**2 + variance)
        # The tails count as well.
        spread = 0.5 * (np.median(z) / _MEDIAN_OF_NORMAL + np.sqrt(np.mean(np.minimum(z, 3) ** 2)))
        low, high = (middle, high) if spread > 1 else (low, middle)
    return float((low * high) ** 0.5)
