"""summary.json: what a run was asked, what it found, and whether that is better."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from effsearch.files import atomic_write_text
from effsearch.latency.table import Z80, DeviceTable, Prediction
from effsearch.published import published_numbers
from effsearch.report.run_files import SUMMARY, SUMMARY_FORMAT
from effsearch.run.by_hand import best_of_families, best_published, best_scaled
from effsearch.run.cards import held_out_latency, held_out_score
from effsearch.run.request import SearchRequest
from effsearch.run.searching import Searched
from effsearch.run.winner_words import edges, merits, mixture
from effsearch.search.candidates import LatencyElsewhere, Record
from effsearch.search.evaluation import Evaluator
from searchspace import SearchSpace
from searchspace.drawing import in_words


def make_summary(
    request: SearchRequest,
    evaluator: Evaluator,
    space: SearchSpace,
    found: Searched,
    winners: Sequence[Record],
    seconds: float,
    measured: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the summary of a run; the kinds and errors of its numbers included.

    Args:
        request: what was asked for.
        evaluator: what priced and scored.
        space: that was searched.
        found: what was considered, and what was recorded of it.
        winners: best first; winner k is in `winners/k`.
        seconds: how long the search took.
        measured: measurements of winners on this very machine by digest, where they were made.
    """
    records = found.records
    published_one, scaled_one = best_published(records), best_scaled(records)
    table, source = evaluator.table, evaluator.source
    latency = _latency_facts(table, winners or records)
    body: dict[str, Any] = {
        "format": SUMMARY_FORMAT,
        "device": table.name,
        "kind": latency["kind"],
        "task": request.task,
        "budget_ms": request.budget_ms,
        "confidence": request.confidence,
        "seed": request.seed,
        "space": request.space,
        "narrowing": asdict(request.narrowing) if request.narrowing else None,
        "proxy": source.name,
        "trials": request.trials,
        "max_params_m": request.max_params_m,
        "max_macs_m": request.max_macs_m,
        "max_memory_mb": request.max_memory_mb,
        "max_size_mb": request.max_size_mb,
        "also": [
            {
                "device": other.name,
                "budget_ms": other.budget_ms,
                **_latency_facts(table, winners or records),
            }
            for other, table in zip(request.also, evaluator.others, strict=True)
        ],
        "considered": found.considered,
        "recorded": len(records),
        "candidates": len(records),
        "priced": sum(r.priced for r in records),
        "scored": sum(not r.failed for r in records),
        "failed": sum(r.failed for r in records),
        "within_budget": sum(r.feasible for r in records),
        "seconds": round(seconds, 2),
        "winners": [
            winner_row(
                rank, record, evaluator, words, (measured or {}).get(record.candidate.digest)
            )
            for rank, (record, words) in enumerate(zip(winners, merits(winners), strict=True), 1)
        ],
        "baseline": None if published_one is None else _by_hand_row(published_one, evaluator),
        "gain": None,
        "baseline_scaled": None if scaled_one is None else _by_hand_row(scaled_one, evaluator),
        "gain_over_scaled": None,
        "families": {
            family: {
                **_numbers(record, evaluator),
                **_shape(record),
                "name": record.candidate.source,
            }
            for family, record in best_of_families(records).items()
        },
        "yours": _yours(request, records, winners, evaluator),
        "edge": edges(space, winners),
        "latency": latency,
        "score": {
            "source": source.name,
            "unit": source.unit,
            "kind": source.kind,
            "held_out_error": held_out_score(source),
            "note": source.note,
        },
    }
    if winners and published_one is not None:
        body["gain"] = gain(winners[0], published_one)
    if winners and scaled_one is not None:
        body["gain_over_scaled"] = gain(winners[0], scaled_one)
    body["progress"] = found.progress
    body["statement"] = statement(body, anywhere=source.space is None)
    return body


def winner_row(
    rank: int,
    record: Record,
    evaluator: Evaluator,
    words: Sequence[str] = (),
    measured: Any = None,
) -> dict[str, Any]:
    """Return a winner's row of the summary.

    Args:
        rank: from 1.
        record: the winner.
        evaluator: what priced it.
        words: what it is the best at among the winners.
        measured: its measurement on this machine, if there is one.
    """
    row = {"path": f"winners/{rank}", **_numbers(record, evaluator), **_shape(record)}
    row["best_at"] = list(words)
    if measured is not None:
        row["measured_ms"] = measured.median_ms
        if measured.at_table_speed_ms is not None:
            row["measured_at_table_speed_ms"] = measured.at_table_speed_ms
    return row


def _numbers(record: Record, evaluator: Evaluator) -> dict[str, Any]:
    """Return a candidate's latencies with kinds and intervals, its score and its counts."""
    outcome, architecture = record.outcome, record.candidate.architecture
    prediction = evaluator.table.predict(architecture)
    counts = evaluator.counts(architecture)
    return {
        "digest": record.candidate.digest,
        "kind": prediction.kind,
        "mean_ms": outcome.mean_ms,
        "std_ms": outcome.std_ms,
        "interval_ms": list(prediction.interval_ms),
        "quantile_ms": outcome.quantile_ms,
        "score": outcome.score,
        "score_std": outcome.score_std,
        "lower_bound": outcome.lower_bound,
        "params": outcome.params,
        "macs": outcome.macs,
        "peak_memory_bytes": counts.memory_bytes,
        "weight_bytes": counts.size_bytes,
        "elsewhere": [
            _elsewhere(found, table.predict(architecture))
            for found, table in zip(outcome.elsewhere, evaluator.others, strict=True)
        ],
    }


def _yours(
    request: SearchRequest,
    records: Sequence[Record],
    winners: Sequence[Record],
    evaluator: Evaluator,
) -> list[dict[str, Any]]:
    """Return a row for each network that was enqueued; `winner` is its rank, if it has one."""
    by_digest = {record.candidate.digest: record for record in records}
    ranks = {record.candidate.digest: rank for rank, record in enumerate(winners, 1)}
    rows = []
    for own in request.enqueue:
        record = by_digest[own.network.digest()]
        digest, member = record.candidate.digest, record.candidate.member
        row: dict[str, Any] = {"name": own.name, "digest": digest, "in_space": member}
        if record.failed:
            rows.append({**row, "error": record.outcome.error})
            continue
        row |= _numbers(record, evaluator) | _shape(record)
        row |= {"fits": record.feasible, "excess": dict(record.excess)}
        row |= {"winner": ranks.get(digest), "winner_gains": None}
        if winners and winners[0] is not record:
            row["winner_gains"] = gain(winners[0], record)
        rows.append(row)
    return rows


def _elsewhere(found: LatencyElsewhere, prediction: Prediction) -> dict[str, Any]:
    return {**asdict(found), "kind": prediction.kind, "interval_ms": list(prediction.interval_ms)}


def _shape(record: Record) -> dict[str, str]:
    architecture = record.candidate.architecture
    return {"blocks": in_words(architecture), "mixture": mixture(architecture)}


def gain(winner: Record, baseline: Record) -> dict[str, Any]:
    """Return by how much a winner's score exceeds the baseline's, with its 80 % interval.

    The two errors are taken as independent; errors that they share only narrow the interval.
    """
    value = winner.outcome.score - baseline.outcome.score
    std = math.hypot(winner.outcome.score_std, baseline.outcome.score_std)
    low, high = value - Z80 * std, value + Z80 * std
    return {
        "score": value,
        "std": std,
        "interval": [low, high],
        "probability": 0.8,
        "over": baseline.candidate.source,
        "clear": low > 0,
    }


def statement(body: Mapping[str, Any], anywhere: bool) -> str:
    """Return in words whether a winner is better than what is published.

    Args:
        body: the summary so far.
        anywhere: whether the score source scores networks outside of the space too.
    """
    found, baseline = body["gain"], body["baseline"]
    unit = body["score"]["unit"]
    if not body["winners"]:
        return "No architecture was found that meets the budget."
    if baseline is None and not anywhere:
        return (
            f"No published network is in the {body['proxy']}'s space and fits, so there is nothing "
            f"to compare the winners with ({unit})."
        )
    if found is None or baseline is None:
        return (
            f"No published network fits, so there is nothing to compare the winners with ({unit})."
        )
    low, high = found["interval"]
    numbers = f"{found['score']:+.2f} ({unit}; 80% interval {low:+.2f} to {high:+.2f})"
    scaled = _over_scaled(body)
    at = baseline.get("published_resolution")
    weights = "has weights" if at is None else f"has weights, trained at {at}"
    if found["clear"]:
        return (
            f"Winner 1 is estimated to be better than {found['over']}, the best published network "
            f"that fits: {numbers}.{scaled} It is untrained; the published network {weights}."
        )
    return (
        f"No winner is clearly better than {found['over']}, the best published network that fits: "
        f"{numbers}.{scaled} The published one {weights}: take it, unless you will train."
    )


def _over_scaled(body: Mapping[str, Any]) -> str:
    """Return in words what the search gave beyond scaling a published family by hand."""
    found = body["gain_over_scaled"]
    if found is None:
        return ""
    low, high = found["interval"]
    return (
        f" Scaling a published family by hand gives {found['over']}: winner 1 is at "
        f"{found['score']:+.2f} to it ({low:+.2f} to {high:+.2f})."
    )


def write_summary(folder: Path, body: Mapping[str, Any]) -> None:
    """Write summary.json at once."""
    atomic_write_text(folder / SUMMARY, json.dumps(body, indent=2) + "\n")


def _latency_facts(table: DeviceTable, records: Sequence[Record]) -> dict[str, Any]:
    """Return where networks' latencies come from, and what to keep in mind of them."""
    notes = (table.scope_note(record.candidate.architecture) for record in records)
    note = next(filter(None, notes), "")
    return {
        "source": f"table {table.name}",
        "kind": "estimated" if note else table.kind,
        "held_out_error": held_out_latency(table),
        "note": note,
    }


def _by_hand_row(record: Record, evaluator: Evaluator) -> dict[str, Any]:
    name = record.candidate.source
    return {"name": name, **_numbers(record, evaluator), **published_numbers(name)}
