"""Prices of operators that were not measured, between those of their group that were.

Within a group (one operator type, one kind) the logarithm of a price is a Gaussian process over
logarithms of work and shape: a ridge regression for the trend, and a smooth correction that
follows the measured operators where there are some, with a deviation that grows away from them
(Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, Sec. 2.2).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from effsearch.latency.cost_model import Array
from searchspace.operators import BYTES_PER_VALUE, Operator

Group = tuple[str, str, str]
Measured = tuple[Operator, float, float]  # operator, ms, kernels

LENGTH_SCALE = 6.0  # of the correction, in factors of e over all descriptors together
SIGNAL_STD = 1.0  # of log prices around the trend
NOISE_STD = 0.05  # of one log price
RIDGE = 1e-2
LANES = 16  # channels of one vector register, float32
UNKNOWN_ERROR = 1.0  # log standard deviation of a price that nothing measured supports
THIN_ERROR = 0.5  # of a group with few members
MIN_MEMBERS = 6
MAX_MEMBERS = 1500
LEAST_MS = 1e-6
_UNKNOWN_QUANTILE = 0.9
_BEYOND = 2.0  # how far (log) a price may lie outside those measured


def group_of(operator: Operator) -> Group:
    """Return what an operator is interpolated with: its kind, type, and what may fuse with it."""
    return operator.kind, operator.op, operator.follows


def descriptors(operator: Operator) -> list[float]:
    """Return the logarithms that a group's prices are modelled on.

    Sizes of output and input, depth of the contraction, weights, the output's axes, groups, window
    and stride; and how well channels fill vector lanes, for kernels work on blocks of them.
    """
    inputs, outputs = operator.input_shape, operator.output_shape
    values = max(1, math.prod(outputs))
    last = outputs[-1] if outputs else 1
    return [
        math.log(values),
        math.log(max(1, operator.input_bytes // BYTES_PER_VALUE)),
        math.log(max(1.0, operator.macs / values)),
        math.log(1 + operator.weight_bytes),
        math.log(max(1, last)),
        math.log(max(1, outputs[-2] if len(outputs) > 1 else 1)),
        math.log(max(1, outputs[1] if len(outputs) > 2 else 1)),
        math.log(max(1, operator.groups)),
        math.log(1 + operator.kernel),
        math.log(max(1, operator.stride)),
        _waste(outputs[1] if len(outputs) == 4 else last),
        _waste(inputs[1] if len(inputs) == 4 else (inputs[-1] if inputs else 1)),
        _waste(last),
    ]


def _waste(channels: int) -> float:
    return math.log(math.ceil(channels / LANES) * LANES / max(1, channels)) if channels else 0.0


@dataclass(frozen=True)
class _Process:
    """One group's Gaussian process."""

    centre: Array
    scale: Array
    trend: Array
    points: Array
    inverse: Array
    weights: Array
    kernels: float
    low: float
    high: float
    typical: float

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Return log ms, and the deviation over that of a measured operator left out.

        Args:
            x: descriptors of operators, (n, d).

        Returns:
            Two arrays of shape (n,).
        """
        shifted = x - self.centre
        covariance = _covariance(self.points, shifted)
        y = (shifted / self.scale) @ self.trend[:-1] + self.trend[-1]
        y += self.weights @ covariance
        variance = SIGNAL_STD**2 - (covariance * (self.inverse @ covariance)).sum(axis=0)
        growth = np.sqrt(np.maximum(variance, 0.0) + NOISE_STD**2) / self.typical
        return np.clip(y, self.low - _BEYOND, self.high + _BEYOND), growth


def _covariance(a: Array, b: Array) -> Array:
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    return np.asarray(SIGNAL_STD**2 * np.exp(-np.maximum(squared, 0) / (2 * LENGTH_SCALE**2)))


def _fit(rows: Sequence[Measured]) -> _Process:
    if len(rows) > MAX_MEMBERS:
        rows = [rows[i] for i in np.linspace(0, len(rows) - 1, MAX_MEMBERS).astype(int)]
    x = np.array([descriptors(operator) for operator, _, _ in rows])
    y = np.log(np.array([max(ms, LEAST_MS) for _, ms, _ in rows]))
    centre = x.mean(axis=0)
    # Axes that hardly vary keep a least unit, or the trend would blow them up.
    scale = np.maximum(x.std(axis=0), 0.25)
    z = np.column_stack([(x - centre) / scale, np.ones(len(x))])
    penalty = RIDGE * len(x) * np.eye(z.shape[1])
    penalty[-1, -1] = 0.0
    trend = np.asarray(np.linalg.solve(z.T @ z + penalty, z.T @ y), dtype=np.float64)
    points = x - centre
    covariance = _covariance(points, points) + NOISE_STD**2 * np.eye(len(x))
    inverse: Array = np.asarray(np.linalg.inv(covariance), dtype=np.float64)
    left_out = np.sqrt(1 / np.maximum(np.diag(inverse), 1e-12))
    return _Process(
        centre,
        scale,
        trend,
        points,
        inverse,
        np.asarray(inverse @ (y - z @ trend), dtype=np.float64),
        float(np.mean([kernels for _, _, kernels in rows])),
        float(y.min()),
        float(y.max()),
        float(np.median(left_out)),
    )


class Interpolator:
    """Prices from measured operators of the same group; a group is fitted when first needed.

    Args:
        measured: (operator, ms, kernels) of each entry.
        errors: log standard deviation of left-out entries by group, where known.
    """

    def __init__(
        self, measured: Iterable[Measured], errors: Mapping[Group, float] | None = None
    ) -> None:
        self.errors = dict(errors or {})
        self._groups: dict[Group, list[Measured]] = defaultdict(list)
        self._types: dict[tuple[str, str], list[Measured]] = defaultdict(list)
        self._fitted: dict[tuple[str, ...], _Process] = {}
        rates, single = [], []
        for row in measured:
            operator, ms, kernels = row
            self._groups[group_of(operator)].append(row)
            self._types[operator.kind, operator.op].append(row)
            moved = operator.input_bytes + operator.output_bytes
            if kernels >= 0.5 and moved:
                rates.append(ms / moved)
                single.append(ms)
        self._unknown_rate = float(np.quantile(rates, _UNKNOWN_QUANTILE)) if rates else 1e-6
        self._dispatch_ms = min(single, default=1e-3)

    def is_unknown(self, operator: Operator) -> bool:
        """Whether nothing of its kind and type was measured."""
        return (operator.kind, operator.op) not in self._types

    def price(self, operator: Operator) -> tuple[float, float, float]:
        """Return ms, number of kernels, and the standard deviation of log ms."""
        return self.prices([operator])[0]

    def prices(self, operators: Sequence[Operator]) -> list[tuple[float, float, float]]:
        """Return `price` of each of many operators."""
        found: list[tuple[float, float, float]] = [(0.0, 0.0, 0.0)] * len(operators)
        grouped: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for index, operator in enumerate(operators):
            if self.is_unknown(operator):
                moved = operator.input_bytes + operator.weight_bytes + operator.output_bytes
                ms = self._dispatch_ms + self._unknown_rate * moved
                found[index] = (ms, 1.0, UNKNOWN_ERROR)
                continue
            group = group_of(operator)
            grouped[group if group in self._groups else group[:2]].append(index)
        for key, indices in grouped.items():
            rows, error = self._measured_like(key)
            if key not in self._fitted:
                self._fitted[key] = _fit(rows)
            process = self._fitted[key]
            x = np.array([descriptors(operators[index]) for index in indices])
            logs, growths = process.predict(x)
            for index, log_ms, growth in zip(indices, logs.tolist(), growths.tolist(), strict=True):
                found[index] = (math.exp(log_ms), process.kernels, error * max(1.0, growth))
        return found

    def _measured_like(self, key: tuple[str, ...]) -> tuple[list[Measured], float]:
        """Return what was measured of a group, or of a kind and type, and its error."""
        if len(key) == 2:
            return self._types[key[0], key[1]], THIN_ERROR
        group = (key[0], key[1], key[2])
        return self._groups[group], self.errors.get(group, THIN_ERROR)


def left_out_errors(measured: Iterable[Measured]) -> dict[Group, float]:
    """Return the standard deviation of log prices of entries left out, by group.

    Every entry is predicted from a fit without its fifth of the group; groups of less than six
    are left to the default.
    """
    groups: dict[Group, list[Measured]] = defaultdict(list)
    for row in measured:
        groups[group_of(row[0])].append(row)
    errors = {}
    for group, rows in groups.items():
        if len(rows) < MIN_MEMBERS:
            continue
        found = []
        for fold in range(5):
            process = _fit([row for i, row in enumerate(rows) if i % 5 != fold])
            left_out = rows[fold::5]
            predicted, _ = process.predict(np.array([descriptors(row[0]) for row in left_out]))
            known = np.log([max(ms, LEAST_MS) for _, ms, _ in left_out])
            found += (predicted - known).tolist()
        # A robust spread, for single outliers are noise of measurement; never zero.
        errors[group] = max(0.01, float(np.median(np.abs(found)) / 0.6745))
    return errors
