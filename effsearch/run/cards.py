"""The parts of a winner's card: every number with its kind and its error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from effsearch.accuracy.score import ScoreSource
from effsearch.export.weights import Accuracy
from effsearch.latency.table import Z80, DeviceTable, Prediction
from effsearch.search.candidates import LatencyElsewhere, Outcome
from effsearch.search.evaluation import Counts
from searchspace import Architecture

UNTRAINED = (
    "random, cut from one short tensor so that the file is small: this network is untrained and "
    "tells no classes apart yet"
)


def number(
    value: float | None,
    unit: str,
    kind: str,
    std: float | None = None,
    interval: tuple[float, float] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Return a number with its unit, its kind and its error.

    Args:
        value: the number; None where it is not defined.
        unit: its unit.
        kind: `measured`, `fitted`, `transferred`, `estimated`, or `counted` for exact counts.
        std: standard deviation in the same unit; 0 for counts.
        interval: 80 % interval; made from `std` where it is not given.
        more: whatever else belongs to it.
    """
    body: dict[str, Any] = {"value": value, "unit": unit, "kind": kind}
    if std is not None and value is not None:
        body["std"] = std
        interval = interval or (value - Z80 * std, value + Z80 * std)
    if interval is not None:
        body["interval_80"] = list(interval)
    return body | more


def held_out_latency(table: DeviceTable) -> dict[str, Any]:
    """Return what a table says of its error on networks that it has not seen."""
    found = table.meta.get("held_out")
    return dict(found) if isinstance(found, Mapping) else {}


def held_out_score(source: ScoreSource) -> dict[str, Any]:
    """Return what a score source says of its error on networks that it has not seen."""
    return dict(source.held_out)


def latency_numbers(
    prediction: Prediction,
    found: Outcome | LatencyElsewhere,
    table: DeviceTable,
    confidence: float,
    architecture: Architecture,
) -> dict[str, Any]:
    """Return the latency of a network: its bound, where it goes, and the table's error."""
    kind = prediction.kind
    return {
        "device": prediction.device,
        "mean": number(found.mean_ms, "ms", kind, found.std_ms, interval=prediction.interval_ms),
        "quantile": number(
            found.quantile_ms,
            "ms",
            kind,
            probability=confidence,
            error="an upper bound: it has the uncertainty in it",
        ),
        "breakdown": [
            number(ms, "ms", part_kind, part=name, error="not stated for parts")
            for name, ms, part_kind in prediction.stages()
        ],
        "table": {
            name: table.meta.get(name)
            for name in ("kind", "device", "os", "runtime", "compute_unit", "precision", "date")
        },
        "held_out_error": held_out_latency(table),
        "note": table.scope_note(architecture),
    }


def score_numbers(outcome: Outcome, source: ScoreSource) -> dict[str, Any]:
    """Return the score of a network, and the source's error."""
    return {
        "source": source.name,
        "value": number(outcome.score, source.unit, source.kind, outcome.score_std),
        "lower_bound": number(
            outcome.lower_bound,
            source.unit,
            source.kind,
            probability=0.8,
            error="a lower bound: it has the uncertainty in it",
        ),
        "held_out_error": held_out_score(source),
        "note": source.note,
    }


def opinion_numbers(opinion: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return one network's part of a second opinion (see `effsearch.accuracy.second_opinion`)."""
    row = opinion["networks"][name]
    return {
        "source": "zero-cost",
        "value": number(row["mean"], opinion["unit"], opinion["kind"], row["standard_error"]),
        "members": row["scores"],
        "order": opinion["order"],
        "note": opinion["note"],
    }


def accuracy_number(found: Accuracy) -> dict[str, Any]:
    """Return the accuracy of an exported model, with the error of drawing the images."""
    share = found.correct / found.images
    return number(
        100 * found.correct / found.images,
        f"top-1 % on {found.data}",
        "measured",
        100 * math.sqrt(max(share * (1 - share), 1e-6) / found.images),
        images=found.images,
        correct=found.correct,
        error="that of drawing the images",
        note=found.note,
        **found.facts,
    )


def count_numbers(counts: Counts) -> dict[str, Any]:
    """Return what is counted, which is exact."""
    peak = "of activations alive at once (batch 1, float32), by liveness; runtimes may need more"
    return {
        "params": number(counts.params, "parameters", "counted", 0.0),
        "macs": number(counts.macs, "multiply-accumulates", "counted", 0.0),
        "peak_memory": number(counts.memory_bytes, "bytes", "counted", 0.0, note=peak),
        "weights": number(counts.size_bytes, "bytes", "counted", 0.0, note="float32"),
    }
