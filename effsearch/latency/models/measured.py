"""`MeasuredTable`: prices of operators measured in place, and a model for those that were not.

An operator with a measured one's signature costs what that took. Others are interpolated between
measured ones of their group, in the logarithms of work and traffic. What is left between the sum
over operators and a whole network (the cost of a run, and caches that large networks outgrow) is a
correction fitted to the same networks timed as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from effsearch.latency.cost_model import Array
from effsearch.latency.machine_speed import MachineSpeed, slowness
from effsearch.latency.models.interpolation import Group, Interpolator
from searchspace.operators import BYTES_PER_VALUE, Operator

FORMAT = 2
MIN_ENTRY_MS = 1e-5

# Kinds whose sums are weighed apart when networks are calibrated.
SUMS = ("conv", "pointwise_conv", "depthwise_conv", "grouped_conv", "linear", "matmul", "other")
FEATURES = (
    *(f"{name}.ms" for name in SUMS),
    "streaming.ms",  # the part in which weights arrive from beyond the core's caches
    "kernels",
    "weights.mb",
    "activations.mb",
    "interpolated.ms",
    "doubt.ms",  # standard errors of interpolated prices, summed
)
# Caches end somewhere between these: a network's weights in MB fit below, and do not above.
WEIGHT_STEPS_MB = (4.0, 7.0, 10.0, 14.0, 18.0, 24.0, 32.0, 50.0)
TERMS = 8 + len(WEIGHT_STEPS_MB) - 1
_AT = {name: i for i, name in enumerate(FEATURES)}

Signature = tuple[str, str, tuple[int, ...], tuple[int, ...], int, int, int, str]


def signature(operator: Operator) -> Signature:
    """Return all that decides how long an operator takes, its neighbours aside."""
    return (
        operator.kind,
        operator.op,
        operator.input_shape,
        operator.output_shape,
        operator.kernel,
        operator.stride,
        operator.groups,
        operator.follows,
    )


def _priced_by(operator: Operator) -> tuple[object, ...]:
    """Return all that the price between measured operators depends on."""
    read = operator.input_bytes, operator.weight_bytes, operator.output_bytes
    return (*signature(operator), operator.macs, *read)


def streaming_share(operator: Operator, ms: float, stream_mb_per_ms: float) -> float:
    """Return the share of an operator's time that depends on where its weights are."""
    return min(1.0, operator.weight_bytes / 1e6 / stream_mb_per_ms / max(ms, MIN_ENTRY_MS))


@dataclass(frozen=True)
class Entry:
    """What was measured of one operator.

    Attributes:
        operator: one with this signature; its name has no meaning.
        ms: its price; the profiler's own cost taken off.
        kernels: kernels it was credited with on average; 0 where others carry it out.
        count: number of measurements in place.
        networks: number of networks they come from.
        spread: relative standard deviation between networks.
    """

    operator: Operator
    ms: float
    kernels: float
    count: int
    networks: int
    spread: float


@dataclass(frozen=True)
class Calibration:
    """From sums over operators to networks' latencies.

    Attributes:
        weights: of each of `SUMS`; positive.
        run_ms: cost of a run.
        coefficients: of the terms.
        low: least value of each logarithm seen, where the correction stops changing.
        high: greatest.
        knots: where slopes may change.
        std: relative standard deviation of networks left out, nothing interpolated.
        doubt_share: how much of the interpolation's summed standard errors a network shows.
    """

    weights: tuple[float, ...]
    run_ms: float
    coefficients: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    knots: tuple[float, ...]
    std: float
    doubt_share: float

    def evaluate(self, features: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation in ms, (n,) each, of networks' features (n, d)."""
        total = self.total(features)
        mean = total * np.exp(self.terms(features, total) @ np.asarray(self.coefficients))
        doubt = self.doubt_share * features[:, _AT["doubt.ms"]] / total
        return mean, mean * np.sqrt(self.std**2 + doubt**2)

    def total(self, features: Array) -> Array:
        """Return the weighed sums and the cost of a run, (n,)."""
        parts = features[:, : len(SUMS)] @ np.asarray(self.weights)
        return np.asarray(np.maximum(parts + self.run_ms, MIN_ENTRY_MS))

    def terms(self, features: Array, total: Array) -> Array:
        """Return the correction's terms, (n, len(coefficients))."""
        return correction_terms(features, total, self.low, self.high, self.knots)


def logarithms(features: Array, total: Array) -> Array:
    """Return what the correction depends on, (n, 3): log ms, log MB of weights, of activations."""
    weights = np.maximum(features[:, _AT["weights.mb"]], 1e-3)
    activations = np.maximum(features[:, _AT["activations.mb"]], 1e-3)
    return np.asarray(np.log(np.stack([total, weights, activations], axis=1)))


def streaming(features: Array) -> Array:
    """Return the share of networks' time (n,) in which weights stream, of features (n, d)."""
    total = features[:, : len(SUMS)].sum(axis=1)
    return np.asarray(np.clip(features[:, _AT["streaming.ms"]] / total, 0.0, 1.0))


def correction_terms(
    features: Array,
    total: Array,
    low: Sequence[float],
    high: Sequence[float],
    knots: Sequence[float],
) -> Array:
    """Return the terms of the correction, (n, TERMS).

    Args:
        features: of the networks, (n, d).
        total: weighed sums with the cost of a run, ms (n,).
        low: least value of each logarithm, (3,); below it nothing changes.
        high: greatest value, (3,).
        knots: where slopes may change, (3,).

    One; the clipped logarithms; their excesses over the knots; the share of time in which weights
    stream, alone and times a ramp between each two steps of all weights: where a network's weights
    fit a cache, streaming them costs little, and beyond it costs all it can.
    """
    x = np.clip(logarithms(features, total), low, high) - np.asarray(knots)
    excess = np.maximum(x, 0.0)
    share = np.clip(features[:, _AT["streaming.ms"]] / total, 0.0, 1.0)[:, None]
    weights = np.log(np.maximum(features[:, _AT["weights.mb"]], 1e-3))[:, None]
    steps = np.log(WEIGHT_STEPS_MB)
    ramps = np.clip((weights - steps[:-1]) / np.diff(steps), 0.0, 1.0)
    return np.hstack([np.ones((len(x), 1)), x, excess, share, share * ramps])


@dataclass(frozen=True)
class MeasuredTable:
    """Measured prices of one machine.

    Attributes:
        entries: what was measured, by signature.
        calibration: from sums to networks.
        peak_gmacs_per_ms: highest arithmetic rate seen; no operator is priced above it.
        peak_mb_per_ms: highest rate of reading and writing seen.
        stream_mb_per_ms: rate at which weights arrive from main memory.
        group_errors: standard deviation of log prices of entries left out, for each group.
        card: the table's file as read.
    """

    entries: Mapping[Signature, Entry]
    calibration: Calibration
    peak_gmacs_per_ms: float
    peak_mb_per_ms: float
    stream_mb_per_ms: float
    group_errors: Mapping[Group, float]
    card: Mapping[str, Any] = field(repr=False)

    @property
    def kind(self) -> str:
        """`measured`."""
        return "measured"

    @cached_property
    def measured_blocks(self) -> frozenset[str]:
        """Block types that some measured network has."""
        return frozenset(self.card.get("blocks", {}).get("measured", ()))

    def as_transferred(self, features: Array, block: str) -> Array:
        """Return the features (n, d) as they are: doubt comes from operators not measured."""
        return features

    @property
    def meta(self) -> dict[str, Any]:
        """What the table's file says of itself, its error in the words of all tables."""
        errors = self.card.get("errors", {})
        held_out = {
            "scope": errors.get("how", ""),
            "leave_network_out": {
                "networks": errors.get("networks"),
                "median_error_percent": 100 * errors.get("median", math.nan),
                "spearman": errors.get("spearman"),
            },
        }
        return {
            **self.card,
            "reference_count": self.card.get("references"),
            "held_out": held_out,
        }

    @cached_property
    def _interpolated(self) -> dict[tuple[object, ...], tuple[float, float, float]]:
        return {}

    @cached_property
    def interpolator(self) -> Interpolator:
        """Prices of operators between measured ones."""
        return Interpolator(
            [(e.operator, e.ms, e.kernels) for e in self.entries.values()], self.group_errors
        )

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return the sums of `FEATURES`, (len(FEATURES),); they add up over operators."""
        total = np.zeros(len(FEATURES))
        for operator in operators:
            ms, kernels, error = self.price(operator)
            kind = operator.kind if operator.kind in SUMS else "other"
            total[_AT[f"{kind}.ms"]] += ms
            total[_AT["streaming.ms"]] += self.streaming_share(operator, ms) * ms
            total[_AT["kernels"]] += kernels
            total[_AT["weights.mb"]] += operator.weight_bytes / 1e6
            total[_AT["activations.mb"]] += (operator.input_bytes + operator.output_bytes) / 1e6
            if error:
                total[_AT["interpolated.ms"]] += ms
                total[_AT["doubt.ms"]] += ms * error
        return total

    def evaluate(self, features: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation in ms, (n,) each, of networks' features (n, d).

        The deviation has the machine's own in it: how its speed moved while it was profiled.
        """
        mean, std = self.calibration.evaluate(features)
        return mean, np.hypot(std, mean * self.drift_std)

    @property
    def drift_std(self) -> float:
        """Standard deviation of the machine's log speed, over the profile."""
        return float(self.card.get("drift", {}).get("std", 0.0))

    @property
    def speed(self) -> MachineSpeed | None:
        """The machine's speed that the prices hold at; None where the file does not say."""
        drift = self.card.get("drift", {})
        keys = ("reference_ms", "product_ms")
        return (
            MachineSpeed(*(float(drift[k]) for k in keys))
            if all(k in drift for k in keys)
            else None
        )

    def slower(self, features: Array, now: MachineSpeed) -> Array:
        """Return how much longer networks (n,) take at another speed than the table's.

        Args:
            features: of the networks, (n, d).
            now: the machine's speed, measured beside them.
        """
        usual = self.speed
        if usual is None:
            return np.ones(len(features))
        return slowness(
            streaming(features) / float(self.card["drift"]["reference_streaming"]),
            now.reference_ms / usual.reference_ms,
            now.product_ms / usual.product_ms,
        )

    def attribute(self, features: Array) -> Array:
        """Return the ms (n,) that parts of one network add to its mean, the cost of a run aside."""
        whole = features.sum(axis=0, keepdims=True)
        mean, _ = self.evaluate(whole)
        scale = float(mean[0] / self.calibration.total(whole)[0])
        return np.asarray(features[:, : len(SUMS)] @ np.asarray(self.calibration.weights) * scale)

    def mark(self, operators: Sequence[Operator]) -> str:
        """Return `measured`, `fitted` where prices are interpolated, or `estimated`.

        Estimated are operators of which nothing alike was measured.
        """
        if any(self.interpolator.is_unknown(o) for o in operators):
            return "estimated"
        prices = [self.price(o) for o in operators]
        interpolated = sum(ms for ms, _, error in prices if error)
        return "fitted" if interpolated > 0.05 * sum(ms for ms, _, _ in prices) else "measured"

    def prepare(self, operators: Sequence[Operator]) -> None:
        """Price many operators at once, for `price` to have them ready."""
        fresh = {}
        for operator in operators:
            key = _priced_by(operator)
            if key not in self._interpolated and signature(operator) not in self.entries:
                fresh[key] = operator
        found = self.interpolator.prices(list(fresh.values()))
        self._interpolated.update(zip(fresh, found, strict=True))

    def price(self, operator: Operator) -> tuple[float, float, float]:
        """Return ms, number of kernels, and the relative standard error (0 where measured)."""
        entry = self.entries.get(signature(operator))
        if entry is not None:
            ms, kernels, error = entry.ms, entry.kernels, 0.0
        else:
            key = _priced_by(operator)
            if key not in self._interpolated:
                self._interpolated[key] = self.interpolator.price(operator)
            ms, kernels, error = self._interpolated[key]
        return max(ms, self.floor_ms(operator, fused=kernels < 0.5)), kernels, error

    def streaming_share(self, operator: Operator, ms: float) -> float:
        """Return the share of an operator's time that depends on where its weights are."""
        return streaming_share(operator, ms, self.stream_mb_per_ms)

    def floor_ms(self, operator: Operator, fused: bool = False) -> float:
        """Return the least ms that the machine needs for an operator.

        Args:
            operator: the operator.
            fused: whether it runs inside another's kernel, where it moves nothing but computes.
        """
        values = operator.output_bytes / BYTES_PER_VALUE
        arithmetic = max(operator.macs, values) / 1e9 / self.peak_gmacs_per_ms
        if fused:
            return arithmetic
        moved = operator.input_bytes + operator.weight_bytes + operator.output_bytes
        return max(arithmetic, moved / 1e6 / self.peak_mb_per_ms)
