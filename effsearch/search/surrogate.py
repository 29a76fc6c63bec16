"""`Surrogate`: a Gaussian process of scores over a space's choices, and what it would score next.

For scores that are slow: latency is free, so of many networks that could be scored those are chosen
whose score, were it as high as the surrogate thinks possible, would add most to the front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from effsearch.search.pareto import non_dominated
from searchspace import Architecture, SearchSpace
from searchspace.space import label

Array = NDArray[np.float64]

MAX_SCORED = 800  # that the process is fitted to: its cost grows with their cube
_LENGTHS = (0.5, 1.0, 2.0)  # of the kernel, in root mean squared distances
_NOISES = (1e-4, 1e-2, 1e-1)  # variance over that of the scores
_LINEAR = 1.0  # weight of the part of the kernel that adds up over choices


def features(space: SearchSpace, architectures: Sequence[Architecture], free: Array) -> Array:
    """Return what the process sees of members of a space, (n, d).

    Args:
        space: the space.
        architectures: n members.
        free: what is known of each without scoring it (n, k): latency first, whose log counts.

    Returns:
        For each axis a column of logs (of sizes) or one column a value; 0 where it is inactive;
        behind them what is free.
    """
    columns: dict[tuple[str, object], int] = {}
    for name, values in space.axes.items():
        numeric = all(isinstance(v, int | float) and v > 0 for v in values)
        for key in [None] if numeric else [label(v) for v in values]:
            columns[name, key] = len(columns)
    found = np.zeros((len(architectures), len(columns)))
    for row, architecture in enumerate(architectures):
        choices = space.choices(architecture)
        assert choices is not None
        for name, value in choices.items():
            if (name, None) in columns:
                middle = math.sqrt(space.axes[name][0] * space.axes[name][-1])
                found[row, columns[name, None]] = math.log(value / middle)
            else:
                found[row, columns[name, label(value)]] = 1.0
    return np.hstack([found, np.log(np.maximum(free[:, :1], 1e-6)), free[:, 1:]])


class Surrogate:
    """A Gaussian process with a linear and a squared exponential kernel.

    Lengths and noise are those of a small grid that make the scores likeliest (Rasmussen and
    Williams, "Gaussian Processes for Machine Learning", 2006, equation 2.30).

    Args:
        x: features (n, d).
        y: scores (n,).
    """

    def __init__(self, x: Array, y: Array) -> None:
        self._shift, self._scale = x.mean(0), x.std(0) + 1e-9
        self._x = (x - self._shift) / self._scale
        self._mean, self._std = float(y.mean()), float(y.std()) or 1.0
        z = (y - self._mean) / self._std
        squares = _squared_distances(self._x, self._x)
        self._unit = float(squares.mean()) or 1.0
        fits = [self._fitted(z, squares, *pair) for pair in product(_LENGTHS, _NOISES)]
        _, self._length, self._factor, self._weights = max(fits, key=lambda fit: fit[0])

    def _fitted(
        self, z: Array, squares: Array, length: float, noise: float
    ) -> tuple[float, float, tuple[Array, bool], Array]:
        kernel = self._kernel(self._x, self._x, squares, length)
        factor = cho_factor(kernel + noise * np.eye(len(z)), lower=True)
        weights = cho_solve(factor, z)
        likelihood = -0.5 * float(z @ weights) - float(np.log(np.diag(factor[0])).sum())
        return likelihood, length, factor, weights

    def _kernel(self, a: Array, b: Array, squares: Array, length: float) -> Array:
        kernel: Array = np.exp(-squares / (2 * length**2 * self._unit))
        kernel += _LINEAR * (a @ b.T) / a.shape[1]
        return kernel

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Return means and standard deviations of scores, (n,) each."""
        z = (x - self._shift) / self._scale
        cross = self._kernel(z, self._x, _squared_distances(z, self._x), self._length)
        own = 1 + _LINEAR * (z * z).sum(1) / z.shape[1]
        variance = own - np.einsum("ij,ji->i", cross, cho_solve(self._factor, cross.T))
        std = np.sqrt(np.maximum(variance, 1e-12))
        return self._mean + self._std * (cross @ self._weights), self._std * std


def most_promising(
    scores: Array, costs: Array, front: tuple[Array, Array], budget: float, count: int
) -> list[int]:
    """Return which candidates would add most to a front, one after the other.

    Args:
        scores: what the candidates may score (n,).
        costs: their costs (n,).
        front: scores and costs of what is known, in any order.
        budget: highest cost that counts.
        count: how many to choose.

    Returns:
        Up to `count` indices; none that would add nothing.
    """
    chosen: list[int] = []
    known_scores, known_costs = front
    while len(chosen) < count:
        gains = _gains(scores, costs, known_scores, known_costs, budget)
        gains[chosen] = 0
        best = int(np.argmax(gains))
        if gains[best] <= 0:
            break
        chosen.append(best)
        known_scores = np.append(known_scores, scores[best])
        known_costs = np.append(known_costs, costs[best])
    return chosen


def _gains(
    scores: Array, costs: Array, known_scores: Array, known_costs: Array, budget: float
) -> Array:
    """Return the hypervolume that each candidate adds to a front, (n,)."""
    on_front = non_dominated(known_scores, known_costs)
    steps, heights = known_costs[on_front], known_scores[on_front]
    floor = min(float(known_scores.min()), float(scores.min()))
    # Between two steps the front is as high as the lower step's score.
    starts = np.concatenate([[-np.inf], steps])
    ends = np.concatenate([steps, [np.inf]])
    levels = np.concatenate([[floor], heights])
    widths = np.minimum(ends, budget)[None] - np.maximum(starts[None], costs[:, None])
    rises = np.maximum(scores[:, None] - levels[None], 0)
    gains: Array = (np.maximum(widths, 0) * rises).sum(1)
    return gains


def _squared_distances(a: Array, b: Array) -> Array:
    squares: Array = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * (a @ b.T)
    out: Array = np.maximum(squares, 0)
    return out
