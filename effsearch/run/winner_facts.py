"""What a winner's card says beside its files: latency, score, counts, measurement."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from effsearch.latency.timing.measure import Measurement
from effsearch.run.cards import (
    count_numbers,
    latency_numbers,
    number,
    opinion_numbers,
    score_numbers,
)
from effsearch.run.request import SearchRequest
from effsearch.search.candidates import Record
from effsearch.search.evaluation import Evaluator
from searchspace import Architecture


def winner_facts(
    request: SearchRequest,
    evaluator: Evaluator,
    record: Record,
    architecture: Architecture,
    rank: int,
    opinion: Mapping[str, Any] | None = None,
    measured: Measurement | None = None,
) -> dict[str, Any]:
    """Return what a winner's card says, but for its training and its files.

    Args:
        request: of the run.
        evaluator: what priced and scored.
        record: the winner.
        architecture: the winner, under its name.
        rank: its place, from 1.
        opinion: second opinion on all winners; None for none.
        measured: its measurement on this very machine; None where there was none.
    """
    table, outcome = evaluator.table, record.outcome
    prediction = table.predict(architecture)
    facts: dict[str, Any] = {
        "rank": rank,
        "space": request.space,
        "budget_ms": request.budget_ms,
        "latency": latency_numbers(prediction, outcome, table, request.confidence, architecture),
        "score": score_numbers(outcome, evaluator.source),
        **count_numbers(evaluator.counts(architecture)),
    }
    if outcome.elsewhere:
        budgets = dict(request.limits.also)
        facts["latency_elsewhere"] = [
            {
                **latency_numbers(
                    other.predict(architecture), found, other, request.confidence, architecture
                ),
                "budget_ms": budgets.get(other.name),
            }
            for other, found in zip(evaluator.others, outcome.elsewhere, strict=True)
        ]
    if opinion is not None:
        facts["second_opinion"] = opinion_numbers(opinion, f"winner {rank}")
    if measured is not None:
        facts["measured"] = number(
            measured.median_ms,
            "ms",
            "measured",
            interval=(measured.low_ms, measured.high_ms),
            runs=measured.runs,
            threads=measured.threads,
            relative_error=measured.relative_error,
            **_at_table_speed(measured),
        )
    return facts


def _at_table_speed(measured: Measurement) -> dict[str, float]:
    """Return the measurement as it would be at the table's speed, where that is known."""
    ms = measured.at_table_speed_ms
    return {} if ms is None else {"at_table_speed_ms": ms}
