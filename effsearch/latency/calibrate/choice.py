"""Which feature set and prior suit measured networks best, and the error on networks left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from effsearch.latency.calibrate.price_fit import Fit, fit, residual_std
from effsearch.latency.cost_model import Array, PricedTotals
from effsearch.latency.models.price_prior import PricePrior
from effsearch.latency.table import Z80

# Only the ratio of the noise to the prior's spread matters to prices. Finer choices cost more by
# chance than they gain, with 30 networks or fewer.
NOISES = (0.03, 0.08)
# A residual spread seen in few networks is little known; it counts as if these had been seen too.
_USUAL_STD, _USUAL_COUNT = 0.07, 5
_RESAMPLES = 2000


@dataclass(frozen=True)
class Candidate:
    """One way to price the measured networks: their totals in a feature set, and priors.

    Attributes:
        name: of the feature set.
        networks: their totals.
        priors: of the prices, to choose among.
        noises: spreads of log latencies, to choose among.
    """

    name: str
    networks: PricedTotals = field(repr=False)
    priors: tuple[PricePrior, ...] = field(repr=False)
    noises: tuple[float, ...] = NOISES

    def without(self, row: int) -> Candidate:
        """Return the same without one network."""
        fewer = replace(
            self.networks,
            totals=np.delete(self.networks.totals, row, axis=0),
            floor_ms=np.delete(self.networks.floor_ms, row),
        )
        return replace(self, networks=fewer)

    def fits(self, latency_ms: Array) -> list[tuple[float, Fit]]:
        """Return the fit of every prior and noise, with its leave-one-out error, mean |log|."""
        found = []
        for prior in self.priors:
            for noise in self.noises:
                result = fit(self.networks.totals, self.networks.floor_ms, latency_ms, prior, noise)
                found.append((float(np.mean(np.abs(result.left_out))), result))
        return found


@dataclass(frozen=True)
class LeftOut:
    """Errors on networks that neither the fit nor the choice of a feature set has seen.

    Attributes:
        error: log of measured over predicted, (n,).
        variance: that the prices leave, (n,).
        spread: residual standard deviation of the fit without the row, (n,).
        latency_ms: measured, (n,).
    """

    error: Array
    variance: Array
    spread: Array
    latency_ms: Array

    def summary(self) -> dict[str, Any]:
        """Return the errors as tables state them: [estimate, low, high], 90 % bootstrap."""
        relative = 100 * np.abs(np.expm1(-self.error))
        predicted = np.log(self.latency_ms) - self.error
        # Drawn here and not by scipy's bootstrap: cards in use state intervals of these draws.
        rng = np.random.default_rng(0)
        picks = rng.integers(len(relative), size=(_RESAMPLES, len(relative)))
        inside = np.abs(self.error) <= Z80 * np.sqrt(self.spread**2 + self.variance)
        ranks = [_spearman(predicted[p], self.latency_ms[p]) for p in picks]
        return {
            "networks": len(relative),
            "latencies": len(relative),
            "median_error_percent": _interval(
                float(np.median(relative)), np.median(relative[picks], axis=1)
            ),
            "coverage_percent": _interval(
                100 * float(inside.mean()), 100 * inside[picks].mean(axis=1)
            ),
            "spearman": _interval(_spearman(predicted, self.latency_ms), np.asarray(ranks), 4),
        }


def best_fit(candidates: Sequence[Candidate], latency_ms: Array) -> tuple[Candidate, Fit]:
    """Return the candidate and its fit with the lowest leave-one-out error.

    Args:
        candidates: ways to price the measured networks.
        latency_ms: measured, (n,).
    """
    scored = [(error, c, found) for c in candidates for error, found in c.fits(latency_ms)]
    _, chosen, found = min(scored, key=lambda entry: entry[0])
    return chosen, found


def leave_one_out(candidates: Sequence[Candidate], latency_ms: Array) -> LeftOut:
    """Return errors of rows left out, with the choice among candidates repeated without them.

    Args:
        candidates: ways to price the measured networks.
        latency_ms: measured, (n,).
    """
    errors, variances, spreads = [], [], []
    for row in range(len(latency_ms)):
        fewer = [c.without(row) for c in candidates]
        chosen, found = best_fit(fewer, np.delete(latency_ms, row))
        whole = next(c for c in candidates if c.name == chosen.name).networks
        totals, floor = whole.totals[[row]], whole.floor_ms[[row]]
        errors.append(float(np.log(latency_ms[row]) - found.log_ms(totals, floor)[0]))
        variances.append(float(found.variance(totals, floor)[0]))
        spreads.append(shrunk_std(found.left_out, found.left_out_variance))
    return LeftOut(np.array(errors), np.array(variances), np.array(spreads), latency_ms)


def shrunk_std(errors: Array, variance: Array) -> float:
    """Return the residual spread of left-out errors, drawn to a usual one where they are few.

    Args:
        errors: log of measured over predicted, (n,).
        variance: that the prices' uncertainty gives each, (n,).
    """
    n = len(errors)
    squares = n * residual_std(errors, variance) ** 2 + _USUAL_COUNT * _USUAL_STD**2
    return float(np.sqrt(squares / (n + _USUAL_COUNT)))


def _interval(estimate: float, resampled: Array, digits: int = 1) -> list[float]:
    low, high = np.nanquantile(resampled, [0.05, 0.95])
    return [round(float(v), digits) for v in (estimate, low, high)]


def _spearman(a: Array, b: Array) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)
