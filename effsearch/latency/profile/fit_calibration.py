"""The calibration of a measured table: from sums over operators to networks' latencies."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear, nnls

from effsearch.latency.cost_model import Array
from effsearch.latency.models.measured import (
    SUMS,
    TERMS,
    WEIGHT_STEPS_MB,
    Calibration,
    correction_terms,
    logarithms,
)

_SUM_RIDGE = 1.0
_TERM_RIDGE = 0.0001

PLAIN = Calibration(
    (1.0,) * len(SUMS), 0.0, (0.0,) * TERMS, (-9.0,) * 3, (9.0,) * 3, (0.0,) * 3, 0.02, 0.5
)


def fit_calibration(features: Array, ms: Array) -> Calibration:
    """Return the calibration of networks' features (n, d) to their latencies (n,)."""
    sums = features[:, : len(SUMS)]
    # Weights are pulled to one: the sums are measured, and only their context may be off.
    design = np.column_stack([sums / ms[:, None], 1 / ms])
    scale = np.median(ms)
    pull = _SUM_RIDGE * np.sqrt(len(ms)) * np.eye(len(SUMS) + 1)
    pull[-1] = 0.0
    pull[-1, -1] = 0.01 * np.sqrt(len(ms)) / scale
    target = np.concatenate([np.ones(len(ms)), np.diag(pull) * np.r_[np.ones(len(SUMS)), 0.0]])
    weights, _ = nnls(np.vstack([design, pull]), target)
    weights[:-1] = np.maximum(weights[:-1], 0.5)
    start = replace(
        PLAIN, weights=tuple(map(float, weights[:-1])), run_ms=float(max(weights[-1], 1e-3))
    )
    total = start.total(features)
    x = logarithms(features, total)
    low, knots, high = np.quantile(x, [0.0, 0.3, 0.99], axis=0)
    terms = correction_terms(features, total, low, high, knots)
    residual = np.log(ms / total)
    # Streaming never gets cheaper as a network's weights grow, so the ramps' slopes are positive.
    ramps = terms.shape[1] - (len(WEIGHT_STEPS_MB) - 1)
    bounds = np.where(np.arange(terms.shape[1]) < ramps, -np.inf, 0.0)
    penalty = np.sqrt(_TERM_RIDGE * len(ms)) * np.eye(terms.shape[1])
    penalty[0, 0] = 0.0
    robust = np.ones(len(ms))
    coefficients: NDArray[Any] = np.zeros(terms.shape[1])
    for _ in range(5):
        root = np.sqrt(robust)
        coefficients = lsq_linear(
            np.vstack([terms * root[:, None], penalty]),
            np.concatenate([residual * root, np.zeros(terms.shape[1])]),
            bounds=(bounds, np.inf),
        ).x
        left = np.abs(residual - terms @ coefficients)
        robust = 1 / np.maximum(1.0, left / (2 * max(1e-3, np.median(left))))
    fitted = replace(
        start,
        coefficients=tuple(map(float, coefficients)),
        low=tuple(map(float, low)),
        high=tuple(map(float, high)),
        knots=tuple(map(float, knots)),
    )
    return _with_errors(fitted, features, ms)


def _with_errors(calibration: Calibration, features: Array, ms: Array) -> Calibration:
    """Set the deviations by maximum likelihood over the networks given."""
    mean, _ = calibration.evaluate(features)
    residual = np.log(ms / mean)
    doubt = features[:, -1] / calibration.total(features)
    best, chosen = np.inf, (0.02, 0.5)
    for std, share in product(np.geomspace(0.004, 0.2, 40), np.linspace(0.05, 1.0, 20)):
        variance = std**2 + (share * doubt) ** 2
        loss = float((np.log(variance) + residual**2 / variance).sum())
        if loss < best:
            best, chosen = loss, (float(std), float(share))
    return replace(calibration, std=chosen[0], doubt_share=chosen[1])
