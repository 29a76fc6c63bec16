"""A Gaussian estimate of log error: slopes with priors, family effects, and distance to the known.

The log of the top-1 error is a linear function of log MACs, log parameters, log activations,
training with distillation and each family's share, plus a smooth residual over the network's
shape. Slopes have priors from other published networks; the residual's prior is a Gaussian
process, so that the standard deviation is small near a known network and grows away from all of
them (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, chapter 2.7).
Outside the range of the known networks' shapes, the error is expected to rise and gets less
certain in proportion to the distance, and families mixed in one network make it less certain: a
prior, since nothing published lies there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from effsearch.accuracy.features import (
    SHAPE,
    TOTALS,
    Array,
    family_shares,
    shape,
)
from searchspace.schema import FAMILIES

SLOPES = ("gmacs", "mparams", "mactivations")
_SIZES = [TOTALS.index(name) for name in SLOPES]
_ATTENTION = SHAPE.index("attention")
_CHANCE_ERROR = 99.9  # percent, of 1000 classes
_FAMILY_DISTANCE = 2.0  # two families are this many scales apart, times the square root of 2


@dataclass(frozen=True)
class Seen:
    """What the estimate sees of n networks.

    Attributes:
        design: columns of the linear terms, (n, 1 + slopes + distilled + families).
        points: where the smooth residual is evaluated, (n, d).
        distance: from the known networks' range, in scales (n,).
        mixing: 0 for one family, 1 for two in equal parts (n,).
        shares: of the families (n, 4).
    """

    design: Array
    points: Array
    distance: Array
    mixing: Array
    shares: Array


@dataclass(frozen=True)
class Hyperparameters:
    """What the estimate assumes before it sees the networks.

    All standard deviations are of the log error: 0.05 is 1 point of top-1 at 80%.

    Attributes:
        slopes: prior mean and standard deviation of each of `SLOPES`, by name, and of
            `distilled`, the change in log error where a network was trained with distillation.
        family_std: prior standard deviation of a family's effect.
        residual_std: of the smooth residual.
        residual_length: its length scale, in units of `scales`.
        noise_std: of one training: seed, recipe, rounding.
        mixing_std: of putting two families in one network, half each; no such network is
            published.
        scales: of each column of `SHAPE`: what makes clearly another design.
        outside_mean: rise of log error per scale outside the known networks' range.
        outside_std: standard deviation of that rise per scale.
    """

    slopes: Mapping[str, tuple[float, float]]
    family_std: float
    residual_std: float
    residual_length: float
    noise_std: float
    mixing_std: float
    scales: Mapping[str, float]
    outside_mean: float
    outside_std: float


class Estimate:
    """The estimate given known networks.

    Attributes:
        hyperparameters: the prior.
        means: prior means of the linear terms.
        variances: their prior variances.
        known_distilled: 1 where a known network was trained with distillation, else 0 (n,).
        known_log_error: log of the known networks' top-1 error in percent (n,).
        low: least value of each column of the known networks' shapes.
        high: greatest value.
        log_evidence: log marginal likelihood of the known networks' errors.
    """

    def __init__(
        self, hyperparameters: Hyperparameters, totals: Array, distilled: Array, top1: Array
    ) -> None:
        """Condition on known networks.

        Args:
            hyperparameters: the prior.
            totals: of the known networks (n, len(TOTALS)); a network may occur more than once.
            distilled: 1 where trained with distillation, else 0 (n,).
            top1: ImageNet-1k top-1 in percent (n,).
        """
        self.hyperparameters = h = hyperparameters
        means, stds = _linear_prior(h)
        self.means, self.variances = means, stds**2
        self.known_distilled, self.known_log_error = distilled, np.log(100 - top1)
        self._scales = np.array([h.scales[name] for name in SHAPE])
        shapes, shares = shape(totals), family_shares(totals)
        self._design = _design(totals, distilled, shares)
        self._points = self._coordinates(shapes, shares)
        self._family_attention = _family_attention(shapes, shares)
        known = self._ranged(shapes, shares)
        self.low, self.high = known.min(0), known.max(0)
        covariance = self._covariance(self._design, self._points)
        covariance += h.noise_std**2 * np.eye(len(totals))
        self._factor = cho_factor(covariance, lower=True)
        residual = self.known_log_error - self._design @ means
        self._weights = cho_solve(self._factor, residual)
        self._inverse = cho_solve(self._factor, np.eye(len(totals)))
        log_determinant = 2 * np.log(np.diag(self._factor[0])).sum()
        self.log_evidence = float(
            -0.5 * (residual @ self._weights + log_determinant + len(totals) * np.log(2 * np.pi))
        )

    def log_error(self, totals: Array, distilled: Array | float = 0.0) -> tuple[Array, Array]:
        """Return mean and standard deviation of the log of the top-1 error, (n,) each.

        Args:
            totals: of n networks, (n, len(TOTALS)).
            distilled: the recipe to estimate for, 0 or 1.
        """
        h = self.hyperparameters
        seen = self.seen(totals, distilled)
        cross = self._covariance(seen.design, seen.points)
        mean = seen.design @ self.means + cross @ self._weights
        prior = (seen.design**2) @ self.variances + h.residual_std**2
        variance = prior - ((cross @ self._inverse) * cross).sum(1)
        mean = mean + h.outside_mean * seen.distance
        variance = np.maximum(variance, 0) + h.noise_std**2 + h.mixing_std**2 * seen.mixing
        variance = variance + (h.outside_std * seen.distance) ** 2
        return mean, np.sqrt(variance)

    def seen(self, totals: Array, distilled: Array | float = 0.0) -> Seen:
        """Return the model's columns of n networks, from their totals (n, len(TOTALS))."""
        shapes, shares = shape(totals), family_shares(totals)
        return Seen(
            _design(totals, distilled, shares),
            self._coordinates(shapes, shares),
            np.sqrt((self._outside(shapes, shares) ** 2).sum(1)),
            2 * (1 - (shares**2).sum(1)),
            shares,
        )

    def top1(self, totals: Array, distilled: Array | float = 0.0) -> tuple[Array, Array]:
        """Return mean and standard deviation of top-1 in percent, (n,) each; see `top1_of`."""
        return top1_of(*self.log_error(totals, distilled))

    def outside(self, totals: Array) -> Array:
        """Return how far each shape lies outside the known range, in scales, (n, len(SHAPE))."""
        return self._outside(shape(totals), family_shares(totals))

    def _outside(self, shapes: Array, shares: Array) -> Array:
        values = self._ranged(shapes, shares)
        beyond = np.maximum(np.maximum(self.low - values, values - self.high), 0)
        distance: Array = beyond / self._scales
        return distance

    def slopes(self) -> dict[str, tuple[float, float]]:
        """Return mean and standard deviation of every linear coefficient, given the networks."""
        names = ("intercept", *SLOPES, "distilled", *FAMILIES)
        gain = self.variances[:, None] * self._design.T
        means = self.means + gain @ self._weights
        variances = self.variances - np.einsum("ij,jk,ik->i", gain, self._inverse, gain)
        return {
            name: (float(m), float(np.sqrt(max(v, 0))))
            for name, m, v in zip(names, means, variances, strict=True)
        }

    def _covariance(self, design: Array, points: Array) -> Array:
        """Return prior covariances of networks (n) with the known ones (k), (n, k)."""
        h = self.hyperparameters
        linear = (design * self.variances) @ self._design.T
        gaps = ((points[:, None] - self._points[None]) ** 2).sum(-1)
        kernel = h.residual_std**2 * np.exp(-gaps / (2 * h.residual_length**2))
        covariance: Array = linear + kernel
        return covariance

    def _coordinates(self, shapes: Array, shares: Array) -> Array:
        return np.concatenate([shapes / self._scales, shares * _FAMILY_DISTANCE], axis=1)

    def _ranged(self, shapes: Array, shares: Array) -> Array:
        """Return shapes with the share of attention relative to what the families in it have.

        A family without the attention that made its name is no published design, though another
        family may have none.
        """
        values = shapes.copy()
        values[:, _ATTENTION] -= shares @ self._family_attention
        return values


def top1_of(mean: Array, std: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation of top-1 in percent, of those of the log error.

    The log error is Gaussian, so the error is log-normal; its mean is held at chance, 99.9%,
    where a network is so far from everything known that it would pass it.
    """
    error = np.exp(mean + std**2 / 2)
    return 100 - np.minimum(error, _CHANCE_ERROR), error * np.sqrt(np.expm1(std**2))


def _linear_prior(h: Hyperparameters) -> tuple[Array, Array]:
    rows = [(3.0, 1.0), *(h.slopes[name] for name in (*SLOPES, "distilled"))]
    rows += [(0.0, h.family_std)] * len(FAMILIES)
    table = np.array(rows)
    return table[:, 0], table[:, 1]


def _design(totals: Array, distilled: Array | float, shares: Array) -> Array:
    design = np.empty((len(totals), 1 + len(SLOPES) + 1 + len(FAMILIES)))
    design[:, 0] = 1
    design[:, 1 : 1 + len(SLOPES)] = np.log(totals[:, _SIZES])
    design[:, 1 + len(SLOPES)] = distilled
    design[:, 2 + len(SLOPES) :] = shares
    return design


def _family_attention(shapes: Array, shares: Array) -> Array:
    """Return the mean share of blocks with attention in each family's known networks."""
    mean: Array = (shapes[:, _ATTENTION] @ shares) / np.maximum(shares.sum(0), 1e-9)
    return mean
