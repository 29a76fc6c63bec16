"""The model behind fitted tables: positive prices per operator total, from whole networks' times.

For a measurement of a network with totals f (see
`effsearch.latency.models.accelerator_features`) on device d,

    log t = log(floor_d + sum_j w_j exp(a_dj) f_j) + paper + network + noise

where w_j > 0 are prices on the reference device with log-normal priors, a_dj are the device's log
ratios (one for fixed costs, one for the rest), and papers and networks have effects of their own:
tools differ, and ten rows of one network are not ten networks. Noise is Student's t. Everything is
estimated at the posterior's mode, with the curvature there as its covariance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import block_diag

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

N_GROUPS = 2  # fixed costs, everything else
_MAX_STEPS = 200


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed before any latency is seen; all spreads are of logarithms.

    Attributes:
        price: centre of each price, shape (J,).
        std: spread of each price, shape (J,).
        fixed: whether a price is a fixed cost (of a run, of a dispatch), shape (J,).
        device: spread of a device's ratio to the reference, common part.
        device_group: spread of the part that fixed and other costs do not share.
        paper: spread between papers' tools.
        paper_fixed: spread between papers' tools in fixed costs.
        network: spread of networks around the model.
        noise: spread of a measurement. Two careful papers differ by 6% (median) on one network,
            so a paper's measurement by about this and `paper` together.
        tail: degrees of freedom of the noise.
    """

    price: Array
    std: Array
    fixed: NDArray[np.bool_]
    device: float = 0.12
    device_group: float = 0.12
    paper: float = 0.03
    paper_fixed: float = 0.1
    network: float = 0.06
    noise: float = 0.05
    tail: float = 4.0


@dataclass(frozen=True, slots=True)
class Measurements:
    """Latencies with what they were measured on; n rows.

    Attributes:
        totals: features of each row's network, shape (n, J); the first column is 1 for the run.
        floor_ms: what the row's device cannot beat, shape (n,).
        latency_ms: shape (n,).
        rounding_ms: spread that the printed digits leave, shape (n,).
        device: index of the device; 0 is the reference, shape (n,).
        paper: index of the source, shape (n,).
        network: index of the network, shape (n,).
    """

    totals: Array
    floor_ms: Array
    latency_ms: Array
    rounding_ms: Array
    device: Indices
    paper: Indices
    network: Indices

    def take(self, rows: Indices | NDArray[np.bool_]) -> Measurements:
        """Return some rows."""
        return Measurements(
            self.totals[rows],
            self.floor_ms[rows],
            self.latency_ms[rows],
            self.rounding_ms[rows],
            self.device[rows],
            self.paper[rows],
            self.network[rows],
        )


@dataclass(frozen=True, slots=True)
class Posterior:
    """Prices of one device.

    Attributes:
        price: shape (J,), milliseconds for a unit of each total.
        covariance: of the prices' logarithms, shape (J, J).
    """

    price: Array
    covariance: Array

    def mean_ms(self, totals: Array, floor_ms: Array) -> Array:
        """Return the latencies of networks, shape (n,)."""
        return np.asarray(totals @ self.price + floor_ms)

    def variance(self, totals: Array, floor_ms: Array) -> Array:
        """Return the variance of log latencies that the prices' uncertainty leaves, shape (n,)."""
        shares = totals * self.price / self.mean_ms(totals, floor_ms)[:, None]
        return np.asarray(np.einsum("nj,jk,nk->n", shares, self.covariance, shares))


def fit(
    data: Measurements, prior: Prior, n_devices: int, tolerance: float = 1e-8
) -> tuple[Posterior, ...]:
    """Return the prices on each device, the reference first.

    Args:
        data: at least one row.
        prior: for the reference device.
        n_devices: devices that share the fit, whether or not they have rows.
        tolerance: gain in log posterior at which to stop.
    """
    n, n_prices = data.totals.shape
    group = np.where(prior.fixed, 0, 1)
    membership = np.eye(N_GROUPS)[group]
    papers = _indicators(data.paper)
    networks = _indicators(data.network)
    n_papers, n_networks = papers.shape[1], networks.shape[1]
    precision = _precision(prior, n_devices, n_papers)
    size = len(precision)
    i_ratio = n_prices
    i_fixed = i_ratio + (n_devices - 1) * N_GROUPS
    i_paper = i_fixed + n_papers
    log_ms = np.log(data.latency_ms)
    noise = np.sqrt(prior.noise**2 + (data.rounding_ms / data.latency_ms) ** 2)
    start = np.zeros(size)
    start[:n_prices] = np.log(prior.price)

    def evaluate(p: Array, effect: Array) -> tuple[float, Array, Array]:
        ratios = _ratios(p[i_ratio:i_fixed], n_devices)
        parts = data.totals * np.exp(p[:n_prices] + ratios[data.device][:, group])
        parts[:, prior.fixed] *= np.exp(papers @ p[i_fixed:i_paper])[:, None]
        mean = parts.sum(axis=1) + data.floor_ms
        other = papers @ p[i_paper:] + networks @ effect
        residual = (log_ms - np.log(mean) - other) / noise
        off = p - start
        loss = 0.5 * (prior.tail + 1) * np.log1p(residual**2 / prior.tail).sum()
        loss += 0.5 * off @ precision @ off + 0.5 * (effect @ effect) / prior.network**2
        return float(loss), residual, parts / mean[:, None]

    # Networks' effects are eliminated from each step: their curvature is diagonal.
    point, effect = start.copy(), np.zeros(n_networks)
    loss, residual, shares = evaluate(point, effect)
    damping = 1e-3
    curvature = precision
    for _ in range(_MAX_STEPS):
        jacobian = np.zeros((n, size))
        jacobian[:, :n_prices] = shares
        by_group = shares @ membership
        for d in range(1, n_devices):
            rows = data.device == d
            columns = slice(i_ratio + (d - 1) * N_GROUPS, i_ratio + d * N_GROUPS)
            jacobian[rows, columns] = by_group[rows]
        jacobian[:, i_fixed:i_paper] = papers * by_group[:, :1]
        jacobian[:, i_paper:] = papers
        jacobian /= noise[:, None]
        weight = (prior.tail + 1) / (prior.tail + residual**2)
        weighted = jacobian * weight[:, None]
        own = weighted.T @ jacobian + precision
        cross = weighted.T @ (networks / noise[:, None])
        diagonal = networks.T @ (weight / noise**2) + prior.network**-2.0
        gradient = weighted.T @ residual - precision @ (point - start)
        pull = weight * residual / noise
        slope = networks.T @ pull - effect / prior.network**2
        curvature = own - cross / diagonal @ cross.T
        # The curvature of the logarithm of a sum, which Gauss and Newton leave out; without it
        # the weakly determined prices converge slowly.
        newton = own.copy()
        newton[:n_prices, :n_prices] += (shares * pull[:, None]).T @ shares
        newton[:n_prices, :n_prices] -= np.diag(pull @ shares)
        try:
            np.linalg.cholesky(newton - cross / diagonal @ cross.T)
        except np.linalg.LinAlgError:
            newton = own
        while True:
            damped = diagonal * (1 + damping)
            reduced = newton + damping * np.diag(np.diag(own)) - cross / damped @ cross.T
            step = np.linalg.solve(reduced, gradient - cross @ (slope / damped))
            step = np.clip(step, -1.0, 1.0)
            shift = (slope - cross.T @ step) / damped
            new_loss, new_residual, new_shares = evaluate(point + step, effect + shift)
            if new_loss <= loss + 1e-12 or damping > 1e8:
                break
            damping *= 10
        converged = loss - new_loss < tolerance
        point, effect = point + step, effect + shift
        loss, residual, shares = new_loss, new_residual, new_shares
        damping = max(damping / 10, 1e-7)
        if converged:
            break
    covariance = np.linalg.inv(curvature)[:i_fixed, :i_fixed]
    ratios = _ratios(point[i_ratio:i_fixed], n_devices)
    result = []
    for d in range(n_devices):
        to_device = np.zeros((n_prices, i_fixed))
        to_device[:, :n_prices] = np.eye(n_prices)
        if d:
            to_device[:, i_ratio + (d - 1) * N_GROUPS : i_ratio + d * N_GROUPS] = membership
        price = np.exp(point[:n_prices] + ratios[d][group])
        result.append(Posterior(price, to_device @ covariance @ to_device.T))
    return tuple(result)


def _ratios(flat: Array, n_devices: int) -> Array:
    return np.vstack([np.zeros(N_GROUPS), flat.reshape(n_devices - 1, N_GROUPS)])


def _indicators(index: Indices) -> Array:
    present, position = np.unique(index, return_inverse=True)
    return np.asarray(np.eye(len(present))[position])


def _precision(prior: Prior, n_devices: int, n_papers: int) -> Array:
    """Return the precision of (prices, ratios, papers' fixed costs, papers)."""
    ratio = np.linalg.inv(np.eye(N_GROUPS) * prior.device_group**2 + prior.device**2)
    return np.asarray(
        block_diag(
            np.diag(prior.std**-2.0),
            *[ratio] * (n_devices - 1),
            np.eye(n_papers) * prior.paper_fixed**-2.0,
            np.eye(n_papers) * prior.paper**-2.0,
        )
    )
