"""The fit of a `MeasuredTable` to raw measurements, and its error on networks left out."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear, nnls
from scipy.stats import spearmanr

from effsearch.errors import WorkFailedError
from effsearch.latency.cost_model import Array
from effsearch.latency.machine_speed import LEAST_STREAMING, REFERENCE, MachineSpeed, slowness
from effsearch.latency.models.card import block_types
from effsearch.latency.models.interpolation import left_out_errors
from effsearch.latency.models.measured import (
    FORMAT,
    SUMS,
    TERMS,
    WEIGHT_STEPS_MB,
    Calibration,
    Entry,
    MeasuredTable,
    Signature,
    correction_terms,
    logarithms,
    signature,
    streaming,
    streaming_share,
)
from effsearch.latency.profile.profiled_network import ProfiledNetwork
from effsearch.latency.timing.machine import host
from effsearch.latency.timing.machine_rates import Peak
from effsearch.latency.timing.runtime import Runtime
from searchspace import Operator, operators, zoo

FOLDS = 5
ROUNDS = 4  # of prices and network effects, each given the other
LEAST_SHARE = 0.25  # of a kernel's profiled time that stays when the profiler's cost is taken off
MOST_STREAMING = 3.0  # of an operator, over the reference network's
_TRIM = 0.1
_EFFECT_RIDGE = 0.02
_SUM_RIDGE = 1.0
_TERM_RIDGE = 0.0001
_NOT_COVERED = (
    "float16 and quantised models (ONNX Runtime's CPU kernels run float32 here)",
    "batches of more than one image",
    "graph optimisation switched off, and execution providers other than the CPU's",
)


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
        # An operator that does nothing but stream slows more than the reference network, which
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
    """Return what the profiler adds to each kernel.

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


def table_of(
    entries: Mapping[Signature, Entry], calibration: Calibration, peak: Peak, card: dict[str, Any]
) -> MeasuredTable:
    """Return a table with its interpolation errors."""
    rows = [(e.operator, e.ms, e.kernels) for e in entries.values()]
    return MeasuredTable(
        entries,
        calibration,
        peak.gmacs_per_ms,
        peak.mb_per_ms,
        peak.stream_mb_per_ms,
        left_out_errors(rows),
        card,
    )


def _reference_share(entries: Mapping[Signature, Entry], peak: Peak) -> float:
    """Return the share of the reference network's time in which weights stream."""
    table = table_of(entries, PLAIN, peak, {})
    features = table.features(operators(zoo.load(REFERENCE), "deploy"))
    return float(max(streaming(features[None])[0], LEAST_STREAMING))


PLAIN = Calibration(
    (1.0,) * len(SUMS), 0.0, (0.0,) * TERMS, (-9.0,) * 3, (9.0,) * 3, (0.0,) * 3, 0.02, 0.5
)


def fit_calibration(features: Array, ms: Array) -> Calibration:
    """Return the calibration of networks' features (n, d) to their latencies (n,)."""
    sums = features[:, : len(SUMS)]
    # Weights are pulled to one: the sums are measured, and only their context may be off.
    design = np.column_stack([sums / ms[:, None], 1 / ms])
    scale = np.median(ms)
    pull = _SUM_RIDGE * np.sqrt(len(ms)) * np.eye(len(SUMS) + 1)
    pull[-1] = 0.0
    pull[-1, -1] = 0.01 * np.sqrt(len(ms)) / scale
    target = np.concatenate([np.ones(len(ms)), np.diag(pull) * np.r_[np.ones(len(SUMS)), 0.0]])
    weights, _ = nnls(np.vstack([design, pull]), target)
    weights[:-1] = np.maximum(weights[:-1], 0.5)
    start = replace(
        PLAIN, weights=tuple(map(float, weights[:-1])), run_ms=float(max(weights[-1], 1e-3))
    )
    total = start.total(features)
    x = logarithms(features, total)
    low, knots, high = np.quantile(x, [0.0, 0.3, 0.99], axis=0)
    terms = correction_terms(features, total, low, high, knots)
    residual = np.log(ms / total)
    # Streaming never gets cheaper as a network's weights grow, so the ramps' slopes are positive.
    ramps = terms.shape[1] - (len(WEIGHT_STEPS_MB) - 1)
    bounds = np.where(np.arange(terms.shape[1]) < ramps, -np.inf, 0.0)
    penalty = np.sqrt(_TERM_RIDGE * len(ms)) * np.eye(terms.shape[1])
    penalty[0, 0] = 0.0
    robust = np.ones(len(ms))
    coefficients: NDArray[Any] = np.zeros(terms.shape[1])
    for _ in range(5):
        root = np.sqrt(robust)
        coefficients = lsq_linear(
            np.vstack([terms * root[:, None], penalty]),
            np.concatenate([residual * root, np.zeros(terms.shape[1])]),
            bounds=(bounds, np.inf),
        ).x
        left = np.abs(residual - terms @ coefficients)
        robust = 1 / np.maximum(1.0, left / (2 * max(1e-3, np.median(left))))
    fitted = replace(
        start,
        coefficients=tuple(map(float, coefficients)),
        low=tuple(map(float, low)),
        high=tuple(map(float, high)),
        knots=tuple(map(float, knots)),
    )
    return _with_errors(fitted, features, ms)


def _with_errors(calibration: Calibration, features: Array, ms: Array) -> Calibration:
    """Set the deviations by maximum likelihood over the networks given."""
    mean, _ = calibration.evaluate(features)
    residual = np.log(ms / mean)
    doubt = features[:, -1] / calibration.total(features)
    best, chosen = np.inf, (0.02, 0.5)
    for std, share in product(np.geomspace(0.004, 0.2, 40), np.linspace(0.05, 1.0, 20)):
        variance = std**2 + (share * doubt) ** 2
        loss = float((np.log(variance) + residual**2 / variance).sum())
        if loss < best:
            best, chosen = loss, (float(std), float(share))
    return replace(calibration, std=chosen[0], doubt_share=chosen[1])


def left_out_features(found: Sequence[Sample], profiler_ms: float, peak: Peak) -> Array:
    """Return the features (n, d) of each network from a table that has not seen it."""
    rows: list[Array | None] = [None] * len(found)
    for fold in range(FOLDS):
        kept = [s for i, s in enumerate(found) if i % FOLDS != fold]
        table = table_of(fit_entries(kept, profiler_ms, peak.stream_mb_per_ms), PLAIN, peak, {})
        for i in range(fold, len(found), FOLDS):
            rows[i] = table.features(found[i].operators)
    return np.array(rows)


def left_out_predictions(features: Array, ms: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation (n,) of networks by calibrations without their fold."""
    mean, std = np.empty(len(ms)), np.empty(len(ms))
    fold = np.arange(len(ms)) % FOLDS
    for k in range(FOLDS):
        calibration = fit_calibration(features[fold != k], ms[fold != k])
        mean[fold == k], std[fold == k] = calibration.evaluate(features[fold == k])
    return mean, std


def error_summary(predicted: Array, measured: Array, std: Array | None = None) -> dict[str, float]:
    """Return relative errors and rank correlation of predictions."""
    error = np.abs(predicted / measured - 1)
    summary = {
        "networks": len(measured),
        "median": float(np.median(error)),
        "p90": float(np.quantile(error, 0.9)),
        "p98": float(np.quantile(error, 0.98)),
        "within_5_percent": float((error <= 0.05).mean()),
        "within_10_percent": float((error <= 0.10).mean()),
        "spearman": float(spearmanr(predicted, measured).statistic),
    }
    if std is not None:
        inside = np.abs(predicted - measured) <= 1.2816 * std
        summary["coverage_80"] = float(inside.mean())
    return summary


def fit_table(
    records: Sequence[ProfiledNetwork],
    peak: Peak,
    name: str,
    threads: int,
    profile: Mapping[str, Any],
    runtime: Runtime | None = None,
) -> MeasuredTable:
    """Return the table of a profile.

    Args:
        records: raw measurements.
        peak: highest rates of the machine.
        name: of the table.
        threads: of one operator.
        profile: how it was measured, for the card.
        runtime: what ran the networks; the default one where None.

    Raises:
        WorkFailedError: where too few records are usable.
    """
    found = samples(records)
    if len(found) < 2 * FOLDS:
        raise WorkFailedError(f"only {len(found)} networks are measured; {2 * FOLDS} are needed")
    profiler_ms = profiler_cost_ms(found)
    usual = usual_speed(records)
    reference_share = _reference_share(fit_entries(found, profiler_ms, peak.stream_mb_per_ms), peak)
    steady = without_drift(found, usual, reference_share, peak.stream_mb_per_ms)
    features = left_out_features(steady, profiler_ms, peak)
    measured = np.array([s.profiled.ms for s in found])
    slower = slowness(
        streaming(features) / reference_share,
        np.array([s.profiled.reference_ms for s in found]) / usual.reference_ms,
        np.array([s.profiled.product_ms for s in found]) / usual.product_ms,
    )
    ms = measured / slower
    predicted, std = left_out_predictions(features, ms)
    calibration = fit_calibration(features, ms)
    entries = fit_entries(steady, profiler_ms, peak.stream_mb_per_ms)
    errors: dict[str, Any] = error_summary(predicted, ms, std)
    errors["how"] = f"{FOLDS}-fold: networks neither in the entries nor in the calibration"
    machine = host(runtime)
    card: dict[str, Any] = {
        "format": FORMAT,
        "model": "measured",
        "name": name,
        "kind": "measured",
        "device": machine["cpu"],
        **machine,
        "compute_unit": "CPU",
        "threads": threads,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "references": len(found),
        "entries": len(entries),
        "measurements": int(sum(e.count for e in entries.values())),
        "entry_spread": float(
            np.median([e.spread for e in entries.values() if e.networks > 1 and e.kernels >= 0.5])
        ),
        "profiler_ms_per_kernel": profiler_ms,
        "peak": asdict(peak),
        "drift": {
            "reference_network": REFERENCE,
            **asdict(usual),
            "reference_streaming": reference_share,
            "std": float(np.std(np.log(slower))),
        },
        "errors": errors,
        "blocks": {
            "measured": sorted({b for s in found for b in block_types(s.profiled.architecture)})
        },
        "profile": dict(profile),
        "not_covered": list(_NOT_COVERED),
    }
    return table_of(entries, calibration, peak, card)
