"""The fit of a `MeasuredTable` to raw measurements, and its error on networks left out."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from effsearch.errors import WorkFailedError
from effsearch.latency.cost_model import Array
from effsearch.latency.machine_speed import LEAST_STREAMING, REFERENCE, slowness
from effsearch.latency.models.card import block_types
from effsearch.latency.models.interpolation import left_out_errors
from effsearch.latency.models.measured import (
    FORMAT,
    Calibration,
    Entry,
    MeasuredTable,
    Signature,
    streaming,
)
from effsearch.latency.profile.fit_calibration import PLAIN, fit_calibration
from effsearch.latency.profile.fit_entries import (
    Sample,
    fit_entries,
    profiler_cost_ms,
    samples,
    usual_speed,
    without_drift,
)
from effsearch.latency.profile.profiled_network import ProfiledNetwork
from effsearch.latency.timing.machine import host
from effsearch.latency.timing.machine_rates import Peak
from effsearch.latency.timing.runtime import Runtime
from searchspace import operators, zoo

FOLDS = 5
_NOT_COVERED = (
    "other runtimes, and other precisions than this table's",
    "batches of more than one image",
    "graph optimisation switched off, and execution providers other than the CPU's",
)


def table_of(
    entries: Mapping[Signature, Entry], calibration: Calibration, peak: Peak, card: dict[str, Any]
) -> MeasuredTable:
    """Return a table with its interpolation errors.

    Args:
        entries: measured operators by signature.
        calibration: from sums over operators to networks.
        peak: highest rates of the machine.
        card: what the table says of itself.
    """
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


def left_out_features(found: Sequence[Sample], profiler_ms: float, peak: Peak) -> Array:
    """Return the features (n, d) of each network from a table that has not seen it.

    Args:
        found: the networks.
        profiler_ms: what the profiler adds to each kernel.
        peak: highest rates of the machine.
    """
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
    """Return relative errors and rank correlation of predictions.

    Args:
        predicted: latencies in ms, (n,).
        measured: latencies in ms, (n,).
        std: standard deviations of the predictions in ms, (n,); None leaves coverage out.
    """
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
