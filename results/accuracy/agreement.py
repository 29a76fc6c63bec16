"""Kendall's tau between a score and the truth, over all pairs or chosen ones, with intervals."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Pairs = NDArray[np.bool_]

DRAWS = 1000


def all_pairs(count: int) -> Pairs:
    """Return each pair once, (count, count)."""
    return np.triu(np.ones((count, count), dtype=bool), 1)


def near_pairs(latency_ms: Values, within: float = 0.10) -> Pairs:
    """Return the pairs whose latencies differ by at most a share, of the larger, (n, n)."""
    a, b = latency_ms[:, None], latency_ms[None, :]
    near: Pairs = all_pairs(len(latency_ms)) & (np.abs(a - b) <= within * np.maximum(a, b))
    return near


def same_group(groups: Values) -> Pairs:
    """Return the pairs of one group; negative numbers are no group, (n, n)."""
    same: Pairs = all_pairs(len(groups)) & (groups[:, None] == groups) & (groups >= 0)[:, None]
    return same


def pair_tau(score: Values, truth: Values, pairs: Pairs | None = None) -> float:
    """Return Kendall's tau-b over the pairs of which both scores are defined.

    Ties count neither way in the numerator. NaN where no pair is left.
    """
    chosen = all_pairs(len(score)) if pairs is None else pairs
    known = ~np.isnan(score)
    chosen = chosen & known[:, None] & known
    s = np.sign(score[:, None] - score[None, :])[chosen]
    t = np.sign(truth[:, None] - truth[None, :])[chosen]
    scale = np.sqrt(float((s != 0).sum()) * float((t != 0).sum()))
    return float((s * t).sum() / scale) if scale else float("nan")


def bootstrap(
    scores: Mapping[str, Values],
    truth: Values,
    pairs: Pairs | None = None,
    seed: int = 0,
    draws: int = DRAWS,
) -> dict[str, Values]:
    """Return tau of every score on the same bootstrap draws of the networks, (draws,).

    A network that was drawn twice makes no pair with itself: such ties count neither way. Hence not
    `results.bootstrap`, which hands a statistic the drawn values but not which networks they are,
    nor the same draws to several scores.

    Args:
        scores: by name, (n,) each; NaN where undefined.
        truth: measured values, (n,).
        pairs: as in `pair_tau`.
        seed: of the draws.
        draws: how many.
    """
    rng = np.random.default_rng(seed)
    count = len(truth)
    both = all_pairs(count) if pairs is None else pairs
    both = both | both.T
    found: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(draws):
        rows = rng.integers(count, size=count)
        of_rows = both[np.ix_(rows, rows)] & all_pairs(count)
        for name, score in scores.items():
            found[name].append(pair_tau(score[rows], truth[rows], of_rows))
    return {name: np.array(values) for name, values in found.items()}


def interval(values: Values) -> list[float]:
    """Return the 2.5th and 97.5th percentile, NaN left out."""
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def noise_ceiling(
    truth: Values, noise_std: float, pairs: Pairs | None = None, draws: int = 400, seed: int = 0
) -> float:
    """Return the tau that a perfect score reaches in the mean, the truth being noisy.

    The networks' true values are taken as the measured ones drawn towards their mean until they
    have the variance that the noise leaves; tau is between them and them with noise.

    Args:
        truth: measured values, each with noise (n,).
        noise_std: the noise's standard deviation, in the same unit.
        pairs: as in `pair_tau`.
        draws: simulations.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    variance = float(np.var(truth))
    kept = np.sqrt(max(variance - noise_std**2, 0.0) / variance) if variance else 0.0
    exact = truth.mean() + kept * (truth - truth.mean())

    def once() -> float:
        return pair_tau(exact, exact + rng.normal(0, noise_std, len(exact)), pairs)

    return float(np.nanmean([once() for _ in range(draws)]))


def spread(values: Values) -> dict[str, float]:
    """Return the least, the median and the greatest value."""
    return {
        "min": round(float(values.min()), 2),
        "median": round(float(np.median(values)), 2),
        "max": round(float(values.max()), 2),
    }
