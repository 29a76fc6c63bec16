"""The published ImageNet estimate and networks trained here, as one Gaussian model.

Two quantities of a network are modelled together (Kennedy and O'Hagan, "Predicting the output from
a complex computer code when fast approximations are available", 2000, equation 1, with the size
terms freed):

    log ImageNet error   f = sizes and families (slopes of the published estimate) + u
    log odds of top-1    z = sizes and families (slopes of their own) + rho u + g + noise

`u` is what design adds at equal size and family: how far shapes lie outside the published ones,
mixing, and a linear function of the encoding. A short training on small images says little of what
size is worth after a long one, so only `u` is shared; `rho`, how far it is, and the scale of all
parts are those of the greatest marginal likelihood. `g` is what matters in the short training
alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from effsearch.accuracy.estimate import Estimate
from effsearch.accuracy.features import Array
from effsearch.accuracy.trained.encoding import GROUPS, Points, columns
from effsearch.accuracy.trained.scaling import Scaler

_DESIGN = columns([name for name in GROUPS if name != "sizes"])
_SIZES = columns(["sizes"])
_SLOPE_STD = 1.0  # of log odds per unit of log size or share: wide
_JITTER = 1e-6
_START = np.log([1.0, 0.02, 0.3, 1.0, 0.15])  # -rho, design, own, own's length, noise
_PRIOR_STD = np.array([1.0, 0.7, 1.0, 0.7, 1.0])


@dataclass(frozen=True)
class Scales:
    """What the marginal likelihood chooses.

    Attributes:
        rho: log odds per log error of `u`; negative, since errors are bad.
        design_std: of the part of `u` that is linear in the encoding.
        own_std: of `g`.
        own_length: its length, in standard deviations of a column.
        noise_std: of one network's log odds, seeds included.
    """

    rho: float
    design_std: float
    own_std: float
    own_length: float
    noise_std: float


class Joint:
    """The model given published and trained networks.

    Args:
        published: the published estimate, conditioned on its networks.
        published_points: those networks.
        trained: the networks trained here.
        z: log odds of their top-1 (n,).
        scaler: of encodings; that of the trained networks where None.
        scales: chosen by marginal likelihood where None.
    """

    def __init__(
        self,
        published: Estimate,
        published_points: Points,
        trained: Points,
        z: Array,
        scaler: Scaler | None = None,
        scales: Scales | None = None,
    ) -> None:
        self._estimate = published
        self.scaler = scaler or Scaler.of(trained.encodings)
        self._known = self._parts(published_points, published.known_distilled)
        self._trained = self._parts(trained)
        self._z_mean = float(z.mean())
        self._targets = np.concatenate([published.known_log_error, z - self._z_mean])
        self.scales = scales or self._choose()
        self._condition()

    def _parts(self, points: Points, distilled: Array | float = 0.0) -> _Parts:
        seen = self._estimate.seen(points.totals, distilled)
        scaled = self.scaler(points.encodings)
        return _Parts(
            seen.design,
            seen.points,
            seen.distance,
            seen.mixing,
            scaled[:, _DESIGN] / np.sqrt(len(_DESIGN)),
            np.column_stack([np.ones(len(scaled)), points.encodings[:, _SIZES], seen.shares]),
            scaled / np.sqrt(scaled.shape[1]),
        )

    def _merit(self, a: _Parts, b: _Parts, scales: Scales) -> Array:
        """Return covariances of `u` between two sets of networks."""
        h = self._estimate.hyperparameters
        smooth = h.residual_std**2 * _kernel(a.points, b.points, h.residual_length)
        # Half of what lies outside is alike for all networks: that half can be learnt.
        outside = 0.5 * h.outside_std**2 * np.outer(a.distance, b.distance)
        mixing = 0.5 * h.mixing_std**2 * np.outer(a.mixing, b.mixing)
        merit: Array = smooth + outside + mixing + scales.design_std**2 * (a.encoded @ b.encoded.T)
        return merit

    def _slopes(self, a: _Parts, b: _Parts) -> Array:
        out: Array = (a.design * self._estimate.variances) @ b.design.T
        return out

    def _own(self, a: _Parts, b: _Parts, scales: Scales) -> Array:
        free = _SLOPE_STD**2 * (a.free @ b.free.T)
        out: Array = free + scales.own_std**2 * _kernel(a.all, b.all, scales.own_length)
        return out

    def _covariance(self, scales: Scales) -> Array:
        h = self._estimate.hyperparameters
        known, trained, rho = self._known, self._trained, scales.rho
        ff = self._slopes(known, known) + self._merit(known, known, scales)
        ff += h.noise_std**2 * np.eye(len(ff))
        fz = rho * self._merit(known, trained, scales)
        zz = rho**2 * self._merit(trained, trained, scales) + self._own(trained, trained, scales)
        zz += np.diag(scales.noise_std**2 + rho**2 * self._alone(trained))
        return np.block([[ff, fz], [fz.T, zz]])

    def _alone(self, parts: _Parts) -> Array:
        """Return the variance of `u` that each network has for itself."""
        h = self._estimate.hyperparameters
        own: Array = 0.5 * (h.outside_std * parts.distance) ** 2 + 0.5 * (
            h.mixing_std**2 * parts.mixing
        )
        return own

    def _means(self, scales: Scales) -> Array:
        estimate = self._estimate
        rise = estimate.hyperparameters.outside_mean
        known = self._known.design @ estimate.means + rise * self._known.distance
        return np.concatenate([known, scales.rho * rise * self._trained.distance])

    def _loss(self, theta: Array) -> float:
        scales = _scales(theta)
        covariance = self._covariance(scales) + _JITTER * np.eye(len(self._targets))
        residual = self._targets - self._means(scales)
        factor = cho_factor(covariance, lower=True)
        fit = 0.5 * float(residual @ cho_solve(factor, residual))
        prior = 0.5 * float((((theta - _START) / _PRIOR_STD) ** 2).sum())
        return fit + float(np.log(np.diag(factor[0])).sum()) + prior

    def _choose(self) -> Scales:
        found = minimize(self._loss, _START, method="L-BFGS-B", options={"maxiter": 60})
        return _scales(found.x)

    def _condition(self) -> None:
        covariance = self._covariance(self.scales) + _JITTER * np.eye(len(self._targets))
        self._factor = cho_factor(covariance, lower=True)
        self._inverse = cho_solve(self._factor, np.eye(len(self._targets)))
        self._weights = self._inverse @ (self._targets - self._means(self.scales))

    def log_error(self, points: Points) -> tuple[Array, Array]:
        """Return mean and standard deviation of the log of the ImageNet error, (n,) each.

        Without distillation.
        """
        h, new, scales = self._estimate.hyperparameters, self._parts(points), self.scales
        to_known = self._slopes(new, self._known) + self._merit(new, self._known, scales)
        to_trained = scales.rho * self._merit(new, self._trained, scales)
        cross = np.hstack([to_known, to_trained])
        mean = new.design @ self._estimate.means + h.outside_mean * new.distance
        prior = (new.design**2) @ self._estimate.variances + self._own_merit(new)
        variance = prior - ((cross @ self._inverse) * cross).sum(1)
        variance = np.maximum(variance, 0) + self._alone(new) + h.noise_std**2
        return mean + cross @ self._weights, np.sqrt(variance)

    def log_odds(self, points: Points) -> tuple[Array, Array]:
        """Return mean and standard deviation of the log odds of top-1 in the short training."""
        h, new, scales = self._estimate.hyperparameters, self._parts(points), self.scales
        rho = scales.rho
        to_known = rho * self._merit(new, self._known, scales)
        to_trained = rho**2 * self._merit(new, self._trained, scales)
        cross = np.hstack([to_known, to_trained + self._own(new, self._trained, scales)])
        mean = self._z_mean + rho * h.outside_mean * new.distance + cross @ self._weights
        prior = rho**2 * (self._own_merit(new) + self._alone(new)) + scales.own_std**2
        prior = prior + _SLOPE_STD**2 * (new.free**2).sum(1)
        variance = prior - ((cross @ self._inverse) * cross).sum(1) + scales.noise_std**2
        return mean, np.sqrt(np.maximum(variance, 1e-8))

    def _own_merit(self, parts: _Parts) -> Array:
        h = self._estimate.hyperparameters
        shared = 0.5 * (h.outside_std * parts.distance) ** 2
        shared = shared + 0.5 * (h.mixing_std * parts.mixing) ** 2
        linear = self.scales.design_std**2 * (parts.encoded**2).sum(1)
        merit: Array = h.residual_std**2 + shared + linear
        return merit


@dataclass(frozen=True)
class _Parts:
    """Columns of the model's terms, a row a network."""

    design: Array
    points: Array
    distance: Array
    mixing: Array
    encoded: Array
    free: Array
    all: Array


def _scales(theta: Array) -> Scales:
    values = np.exp(theta)
    return Scales(-float(values[0]), *(float(v) for v in values[1:]))


def _kernel(a: Array, b: Array, length: float) -> Array:
    gaps = ((a[:, None] - b[None]) ** 2).sum(-1)
    out: Array = np.exp(-gaps / (2 * length**2))
    return out
