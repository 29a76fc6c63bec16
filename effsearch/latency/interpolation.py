"""Prices of operators that were not measured, between those of their group that were.

Within a group (one operator type, one kind) the logarithm of a price is a ridge regression on
logarithms of work, traffic and shape, plus the residuals of the nearest measured operators.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from effsearch.latency.cost_model import Array
from searchspace.operators import Operator

Group = tuple[str, str, str]
NEIGHBOURS = 4
RIDGE = 1e-2
UNKNOWN_ERROR = 1.0  # log standard deviation of a price that nothing measured supports
THIN_ERROR = 0.5  # of a group with few members
MIN_MEMBERS = 6
_UNKNOWN_QUANTILE = 0.9


def group_of(operator: Operator) -> Group:
    """Return what is interpolated together: kind, type, and what an activation may fuse with."""
    return operator.kind, operator.op, operator.follows


def descriptors(operator: Operator) -> list[float]:
    """Return the logarithms that a group's prices are modelled on.

    Besides work and traffic there are the shape of the work (channels, positions, heads) and how
    well channels fill vector lanes: kernels work on blocks of 16.
    """
    out = operator.output_shape
    last = out[-1] if out else 1
    channels = out[1] if len(out) == 4 else last
    lanes = math.ceil(channels / 16) * 16 / max(1, channels)
    return [
        math.log(1 + operator.macs),
        math.log(1 + operator.input_bytes),
        math.log(1 + operator.output_bytes),
        math.log(1 + operator.weight_bytes),
        math.log(max(1, channels)),
        math.log(max(1, last)),
        math.log(operator.groups),
        math.log(1 + operator.kernel),
        math.log(operator.stride),
        math.log(lanes),
    ]


@dataclass(frozen=True)
class _Member:
    """A group's model."""

    centre: Array
    scale: Array
    coefficients: Array
    points: Array
    residuals: Array
    kernels: float
    low: float
    high: float
    typical: float


class Interpolator:
    """Prices from measured neighbours.

    Args:
        measured: (operator, ms, kernels) of each entry.
        errors: log standard deviation of left-out entries by group, where known.
    """

    def __init__(
        self,
        measured: Iterable[tuple[Operator, float, float]],
        errors: Mapping[Group, float] | None = None,
    ) -> None:
        self.errors = dict(errors or {})
        members: dict[Group, list[tuple[Operator, float, float]]] = defaultdict(list)
        rates = []
        for operator, ms, kernels in measured:
            members[group_of(operator)].append((operator, ms, kernels))
            moved = operator.input_bytes + operator.output_bytes
            if kernels >= 0.5 and moved:
                rates.append(ms / moved)
        self._unknown_rate = float(np.quantile(rates, _UNKNOWN_QUANTILE)) if rates else 1e-6
        self._dispatch_ms = min(
            (ms for rows in members.values() for _, ms, k in rows if k >= 0.5), default=1e-3
        )
        self._groups = {group: _fit(rows) for group, rows in members.items()}
        by_type: dict[tuple[str, str], list[tuple[Operator, float, float]]] = defaultdict(list)
        for (kind, op, _), rows in members.items():
            by_type[kind, op] += rows
        self._types = {key: _fit(rows) for key, rows in by_type.items()}

    def is_unknown(self, operator: Operator) -> bool:
        """Whether nothing of its kind and type was measured."""
        return (operator.kind, operator.op) not in self._types

    def price(self, operator: Operator) -> tuple[float, float, float]:
        """Return ms, number of kernels, and the standard deviation of log ms."""
        group = group_of(operator)
        member = self._groups.get(group)
        error = self.errors.get(group, THIN_ERROR)
        if member is None:
            member = self._types.get((operator.kind, operator.op))
            error = THIN_ERROR
        if member is None:
            moved = operator.input_bytes + operator.weight_bytes + operator.output_bytes
            return self._dispatch_ms + self._unknown_rate * moved, 1.0, UNKNOWN_ERROR
        ms, distance = _evaluate(member, np.asarray(descriptors(operator)))
        return ms, member.kernels, error * (1 + distance / member.typical)


def _fit(rows: Sequence[tuple[Operator, float, float]]) -> _Member:
    x = np.array([descriptors(operator) for operator, _, _ in rows])
    y = np.log(np.array([max(ms, 1e-6) for _, ms, _ in rows]))
    centre = x.mean(axis=0)
    # Axes keep their unit (a factor e), or a little used one would be blown up.
    scale = np.maximum(x.std(axis=0), 0.25)
    z = np.column_stack([(x - centre) / scale, np.ones(len(x))])
    penalty = RIDGE * len(x) * np.eye(z.shape[1])
    penalty[-1, -1] = 0.0
    coefficients = np.linalg.solve(z.T @ z + penalty, z.T @ y)
    points = z[:, :-1]
    return _Member(
        centre,
        scale,
        coefficients,
        points,
        y - z @ coefficients,
        float(np.mean([kernels for _, _, kernels in rows])),
        float(y.min()),
        float(y.max()),
        _typical_distance(points),
    )


def _typical_distance(points: Array) -> float:
    if len(points) < 2:
        return 1.0
    sample = points[np.linspace(0, len(points) - 1, min(len(points), 100)).astype(int)]
    squared = ((sample[:, None] - points[None]) ** 2).sum(axis=2)
    nearest = np.sqrt(np.sort(squared, axis=1)[:, 1])
    return max(0.1, float(np.median(nearest)))


def _evaluate(member: _Member, x: Array, skip: int = -1) -> tuple[float, float]:
    """Return ms and the distance to the nearest measured operator."""
    z = (x - member.centre) / member.scale
    squared = ((member.points - z) ** 2).sum(axis=1)
    if skip >= 0:
        squared[skip] = np.inf
    nearest = np.argsort(squared)[:NEIGHBOURS]
    nearest = nearest[np.isfinite(squared[nearest])]
    y = float(z @ member.coefficients[:-1] + member.coefficients[-1])
    distance = math.inf
    if len(nearest):
        distances = np.sqrt(squared[nearest])
        distance = float(distances[0])
        weights = 1 / (distances + 0.05)
        # Far from all neighbours their residuals say less.
        trust = 1 / (1 + distance / (4 * member.typical))
        y += trust * float(weights @ member.residuals[nearest] / weights.sum())
    y = min(max(y, member.low - 2.0), member.high + 2.0)
    return math.exp(y), distance


def left_out_errors(
    measured: Sequence[tuple[Operator, float, float]],
) -> dict[Group, float]:
    """Return the standard deviation of log prices of entries left out, by group.

    Every entry is predicted from a fit without its fifth of the group; groups of less than six
    are left to the default.
    """
    members: dict[Group, list[tuple[Operator, float, float]]] = defaultdict(list)
    for row in measured:
        members[group_of(row[0])].append(row)
    errors = {}
    for group, rows in members.items():
        if len(rows) < MIN_MEMBERS:
            continue
        found = []
        for fold in range(5):
            kept = [row for i, row in enumerate(rows) if i % 5 != fold]
            model = _fit(kept)
            for operator, ms, _ in rows[fold::5]:
                predicted, _ = _evaluate(model, np.asarray(descriptors(operator)))
                found.append(math.log(predicted / max(ms, 1e-6)))
        # Robust: single wild entries are noise of measurement.
        errors[group] = float(np.median(np.abs(found)) / 0.6745)
    return errors
