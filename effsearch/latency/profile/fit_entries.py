"""The prices of measured operators, from networks' raw measurements.

The profiler's own cost is taken off, and so is what the machine's changing speed and each network
as a whole did to its operators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effsearch.latency.cost_model import Array
from effsearch.latency.machine_speed import MachineSpeed, slowness
from effsearch.latency.models.measured import Entry, Signature, signature, streaming_share
from effsearch.latency.profile.profiled_network import ProfiledNetwork
from searchspace import Operator, operators

ROUNDS = 4  # of prices and network effects, each given the other
LEAST_SHARE = 0.25  # of a kernel's profiled time that stays when the profiler's cost is taken off
MOST_STREAMING = 3.0  # of an operator, over the reference network's
_TRIM = 0.1
_EFFECT_RIDGE = 0.02


@dataclass(frozen=True)
class Sample:
    """A profiled network with its operators.

    Attributes:
        profiled: the raw measurement.
        operators: what is priced.
        signatures: of the operators.
        ms: under the profiler, (n,).
        kernels: (n,).
    """

    profiled: ProfiledNetwork
    operators: tuple[Operator, ...]
    signatures: tuple[Signature, ...]
    ms: Array
    kernels: Array


def samples(records: Sequence[ProfiledNetwork]) -> list[Sample]:
    """Return networks with their operators; those that another version exported are left out."""
    found = []
    for record in records:
        parts = operators(record.architecture, "deploy")
        if len(parts) == len(record.operator_ms):
            keys = tuple(signature(o) for o in parts)
            ms = np.asarray(record.operator_ms, float)
            kernels = np.asarray(record.operator_kernels, float)
            found.append(Sample(record, parts, keys, ms, kernels))
    return found


def usual_speed(records: Sequence[ProfiledNetwork]) -> MachineSpeed:
    """Return the median speed of the machine over a profile."""
    return MachineSpeed(
        float(np.median([r.reference_ms for r in records])),
        float(np.median([r.product_ms for r in records])),
    )


def without_drift(
    found: Sequence[Sample], usual: MachineSpeed, reference_share: float, stream_mb_per_ms: float
) -> list[Sample]:
    """Return samples with all operators' times as at the machine's usual speed.

    Args:
        found: the networks.
        usual: that speed.
        reference_share: share of the reference network's time in which weights stream.
        stream_mb_per_ms: rate of streaming.
    """
    adjusted = []
    for s in found:
        streams = [
            streaming_share(o, ms, stream_mb_per_ms)
            for o, ms in zip(s.operators, s.ms, strict=True)
        ]
        # A slow memory delays an operator that only streams more than the reference network, which
        # also computes.
        slower = slowness(
            np.asarray(streams) / reference_share,
            s.profiled.reference_ms / usual.reference_ms,
            s.profiled.product_ms / usual.product_ms,
            MOST_STREAMING,
        )
        adjusted.append(replace(s, ms=s.ms / slower))
    return adjusted


def profiler_cost_ms(found: Sequence[Sample]) -> float:
    """Return the ms that the profiler adds to each kernel.

    Whole networks are regressed on their own kernels' times and number: what the number explains
    (a negative slope) is the profiler's doing.
    """
    total = np.array([s.profiled.ms for s in found])
    design = np.array([[s.ms.sum(), -s.kernels.sum(), 1.0] for s in found]) / total[:, None]
    scale = np.abs(design).max(axis=0)
    weights = np.ones(len(found))
    slopes: NDArray[Any] = np.ones(3)
    for _ in range(10):  # least absolute deviations, by reweighting
        root = np.sqrt(weights)[:, None]
        solution = np.linalg.lstsq(root * design / scale, root[:, 0], rcond=None)[0]
        slopes = np.asarray(solution / scale)
        residual = np.abs(design @ slopes - 1)
        weights = 1 / np.maximum(residual, 0.003)
    return float(np.clip(slopes[1], 0.0, 0.005))


def fit_entries(
    found: Sequence[Sample], profiler_ms: float, stream_mb_per_ms: float
) -> dict[Signature, Entry]:
    """Return the price of each operator measured.

    Args:
        found: the networks.
        profiler_ms: what the profiler adds to each kernel.
        stream_mb_per_ms: rate at which weights arrive from main memory.

    A network runs all of its operators faster or slower than others do, because of caches and the
    machine's speed, and those that wait for weights even more so. So prices and two effects of each
    network are estimated alternately. The prices are those of a network with median effects.
    """
    index: dict[Signature, int] = {}
    example: list[Operator] = []
    rows, nets, values, kernels = [], [], [], []
    for number, sample in enumerate(found):
        net = np.maximum(sample.ms - profiler_ms * sample.kernels, LEAST_SHARE * sample.ms)
        for key, operator, ms, count in zip(
            sample.signatures, sample.operators, net, sample.kernels, strict=True
        ):
            if key not in index:
                index[key] = len(example)
                example.append(operator)
            rows.append(index[key])
            nets.append(number)
            values.append(ms)
            kernels.append(count)
    row, network = np.asarray(rows), np.asarray(nets)
    value, kernel = np.asarray(values), np.asarray(kernels, float)
    # One value for each operator of each network: repeats within a network say little more.
    pairs, where = np.unique(row * len(found) + network, return_inverse=True)
    repeats = np.bincount(where)
    mean = np.bincount(where, value) / repeats
    own_kernels = np.bincount(where, kernel) / repeats
    pair_row, pair_network = pairs // len(found), pairs % len(found)
    order = np.argsort(pair_row, kind="stable")
    bounds = np.searchsorted(pair_row[order], np.arange(len(example) + 1))
    groups = [order[bounds[i] : bounds[i + 1]] for i in range(len(example))]
    shared = np.array([len(g) > 1 for g in groups])[pair_row]
    adjusted = mean
    for _ in range(ROUNDS):
        price = np.array([_trimmed_mean(adjusted[g]) for g in groups])
        shares = np.array(
            [streaming_share(o, ms, stream_mb_per_ms) for o, ms in zip(example, price, strict=True)]
        )[pair_row]
        expected = price[pair_row]
        used = shared & (expected > 0)
        effects = _network_effects(
            np.where(used, expected * repeats, 0.0),
            mean / np.where(used, expected, 1.0) - 1,
            shares,
            pair_network,
            len(found),
        )
        effects -= np.median(effects, axis=0)
        factor = 1 + effects[pair_network, 0] + effects[pair_network, 1] * shares
        adjusted = mean / np.clip(factor, 0.5, 2.0)
    price = np.array([_trimmed_mean(adjusted[g]) for g in groups])
    entries = {}
    for key, i in index.items():
        g = groups[i]
        spread = float(adjusted[g].std() / price[i]) if len(g) > 1 and price[i] > 0 else 0.0
        entries[key] = Entry(
            replace(example[i], name="", params=0),
            float(price[i]),
            float(own_kernels[g].mean()),
            int(repeats[g].sum()),
            len(g),
            spread,
        )
    return entries


def _network_effects(
    weight: Array, ratio: Array, share: Array, network: Array, count: int
) -> Array:
    """Return each network's relative slowdown, and what streaming adds to it, (count, 2).

    Weighed least squares of the ratios on one and the share, the second shrunk.
    """
    ratio = np.clip(ratio, -0.5, 1.0)

    def total(values: Array) -> Array:
        return np.asarray(np.bincount(network, weight * values, count), dtype=np.float64)

    one, s, ss = total(np.ones_like(share)), total(share), total(share**2)
    r, rs = total(ratio), total(ratio * share)
    ss = ss + _EFFECT_RIDGE * one
    determinant = np.maximum(one * ss - s * s, 1e-12)
    slope = (one * rs - s * r) / determinant
    level = np.where(one > 0, (r - slope * s) / np.maximum(one, 1e-12), 0.0)
    return np.stack([level, np.where(one > 0, slope, 0.0)], axis=1)


def _trimmed_mean(values: Array) -> float:
    cut = int(_TRIM * len(values)) if len(values) < 5 else max(1, int(_TRIM * len(values)))
    ordered = np.sort(values)
    return float(ordered[cut : len(ordered) - cut].mean())
