"""`Surrogate`: a Gaussian process of scores over a space's choices, and what it would score next.

For scores that are slow: latency is free, so of many networks that could be scored those are chosen
whose score, were it as high as the surrogate thinks possible, would add most to the front.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from effsearch.search.pareto import non_dominated
from searchspace import SearchSpace
from searchspace.variation import Codes

Array = NDArray[np.float64]

MAX_SCORED = 800  # that the process is fitted to: its cost grows with their cube
_LENGTHS = (0.5, 1.0, 2.0)  # of the kernel, in root mean squared distances
_NOISES = (1e-4, 1e-2, 1e-1)  # variance over that of the scores
_LINEAR = 1.0  # weight of the part of the kernel that adds up over choices


class Columns:
    """What the process sees of members of a space.

    For each axis a column of logs (of sizes) or one column a value; 0 where it is inactive; behind
    them what is free.

    Args:
        space: the space.
    """

    def __init__(self, space: SearchSpace) -> None:
        # A row a code of an axis; the last is that of -1, for an axis that is inactive.
        self._rows = [_axis_rows(values) for values in space.axes.values()]

    def __call__(self, codes: Codes, free: Array) -> Array:
        """Return features (n, d).

        Args:
            codes: n members, (n, axes).
            free: what is known of each without scoring it (n, k): latency first, whose log counts.
        """
        axes = [rows[codes[:, axis]] for axis, rows in enumerate(self._rows)]
        return np.hstack([*axes, np.log(np.maximum(free[:, :1], 1e-6)), free[:, 1:]])


def _axis_rows(values: Sequence[Any]) -> Array:
    """Return the columns (n + 1, d) of an axis's n values, and of none."""
    if all(isinstance(v, int | float) and v > 0 for v in values):
        middle = math.sqrt(values[0] * values[-1])
        return np.array([[math.log(v / middle)] for v in values] + [[0.0]])
    return np.vstack([np.eye(len(values)), np.zeros(len(values))])


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
        linear = _linear(self._x, self._x)
        fits = [
            self._fitted(z, self._near(squares, length) + linear, length, noise)
            for length, noise in product(_LENGTHS, _NOISES)
        ]
        _, self._length, self._factor, self._weights = max(fits, key=lambda fit: fit[0])

    def _fitted(
        self, z: Array, kernel: Array, length: float, noise: float
    ) -> tuple[float, float, tuple[Array, bool], Array]:
        kernel[np.diag_indices_from(kernel)] += noise
        factor = cho_factor(kernel, lower=True, overwrite_a=True, check_finite=False)
        weights = cho_solve(factor, z)
        likelihood = -0.5 * float(z @ weights) - float(np.log(np.diag(factor[0])).sum())
        return likelihood, length, factor, weights

    def _near(self, squares: Array, length: float) -> Array:
        """Return the squared exponential part of the kernel."""
        near: Array = np.exp(-squares / (2 * length**2 * self._unit))
        return near

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Return means and standard deviations of scores, (n,) each."""
        z = (x - self._shift) / self._scale
        squares = _squared_distances(z, self._x)
        cross = self._near(squares, self._length) + _linear(z, self._x)
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


def _linear(a: Array, b: Array) -> Array:
    """Return the part of the kernel that adds up over choices."""
    linear: Array = _LINEAR * (a @ b.T) / a.shape[1]
    return linear


def _squared_distances(a: Array, b: Array) -> Array:
    squares: Array = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * (a @ b.T)
    out: Array = np.maximum(squares, 0)
    return out
