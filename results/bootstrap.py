"""Bootstrap intervals of a statistic of paired samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import bootstrap


def interval(
    statistic: Callable[..., float],
    *samples: ArrayLike,
    draws: int,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Return the percentile interval of a statistic; draws in which it is undefined are left out.

    Args:
        statistic: of as many arrays as there are samples.
        samples: arrays of equal length, drawn together.
        draws: how many times the samples are drawn anew.
        confidence: part of the draws inside the interval.
        seed: of the draws.
    """
    arrays: list[Any] = [np.asarray(sample) for sample in samples]
    drawn = bootstrap(
        arrays,
        statistic,
        paired=True,
        vectorized=False,
        n_resamples=draws,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution
    outside = 50 * (1 - confidence)
    low, high = np.nanpercentile(drawn, [outside, 100 - outside])
    return float(low), float(high)
