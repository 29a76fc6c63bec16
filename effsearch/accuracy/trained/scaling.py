"""The scales that predictors work on: log odds of top-1, standardised columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from effsearch.accuracy.features import Array


def log_odds(top1: Array) -> Array:
    """Return the log odds of top-1 in %; kept away from 0 and 100."""
    share = np.clip(top1, 0.1, 99.9) / 100
    odds: Array = np.log(share / (1 - share))
    return odds


def from_log_odds(value: Array) -> Array:
    """Return top-1 in %."""
    top1: Array = 100 / (1 + np.exp(-value))
    return top1


@dataclass(frozen=True)
class Scaler:
    """Standardises columns; a column that doesn't vary becomes 0."""

    mean: Array
    std: Array

    @classmethod
    def of(cls, x: Array) -> Scaler:
        """Return the scaler of encodings (n, d)."""
        std = x.std(0)
        return cls(x.mean(0), np.where(std > 1e-9, std, np.inf))

    def __call__(self, x: Array) -> Array:
        """Return standardised encodings, at most 4 standard deviations out."""
        scaled: Array = np.clip((x - self.mean) / self.std, -4, 4)
        return scaled


def tamed(columns: Array) -> Array:
    """Return scores (n, d) of many magnitudes on signed logarithms, undefined ones as 0."""
    out: Array = np.nan_to_num(np.sign(columns) * np.log1p(np.abs(columns)), nan=0.0)
    return out
