"""The page's table of networks: winners, the best of each family, by hand, published, yours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from markupsafe import Markup

from effsearch.report.figure import short_label, split
from effsearch.report.front_chart import choices, rows_of
from effsearch.report.own import own_words
from effsearch.report.run_files import ELSEWHERE, elsewhere_column
from searchspace import Architecture
from searchspace.drawing import architecture_html, in_words

MOST_FRONT_ROWS = 500
_NUMBERS = ("mean_ms", "std_ms", "quantile_ms", "score", "score_std", "lower_bound")
_COUNTS = ("params", "macs")
_EMPTY: dict[str, Any] = {  # what some rows lack
    "card": {}, "interval_ms": None, "kind": None, "elsewhere": [], "peak_memory_bytes": None,
    "weight_bytes": None,
}  # fmt: skip


def network_rows(
    trials: pd.DataFrame, summary: Mapping[str, Any], cards: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Return a row for each network that is compared, winners first.

    Args:
        trials: the table of trials.
        summary: of the run.
        cards: of the winners, in order.

    Returns:
        Rows with `name`, `what`, `blocks` (in words), `drawing`, `fits`, the numbers of the
        summary, and `card` of a winner.
    """
    baseline = summary["baseline"]
    by_digest = {row["digest"]: row for row in rows_of(trials[trials["state"] == "complete"])}
    rows = [
        {
            **winner,
            "name": f"winner {rank}",
            "what": ", ".join(winner.get("best_at") or ["winner"]),
            "card": card,
        }
        for rank, (winner, card) in enumerate(zip(summary["winners"], cards, strict=True), 1)
    ]
    rows += [
        {**row, "name": f"best {family}", "what": f"the best of {family} alone"}
        for family, row in summary.get("families", {}).items()
    ]
    scaled = summary.get("baseline_scaled")
    if scaled is not None:
        rows.append({**scaled, "what": "the best that scaling one by hand gives"})
    rows += [
        {**row, "what": own_words(row)} for row in summary.get("yours", []) if "error" not in row
    ]
    devices = [other["device"] for other in summary.get("also") or []]
    for row in rows_of(split(trials)[1].sort_values("quantile_ms")):
        best = baseline is not None and row["source"] == baseline["name"]
        rows.append(
            {
                **{name: row[name] for name in ("digest", *_NUMBERS, *_COUNTS)},
                "name": short_label(row["source"]),
                "what": "the best published network that fits" if best else "published",
                "kind": baseline["kind"] if best else None,
                "interval_ms": baseline["interval_ms"] if best else None,
                "elsewhere": [
                    {name: row[elsewhere_column(name, device)] for name in ELSEWHERE}
                    for device in devices
                ],
            }
        )
    return [_EMPTY | row | _from_trial(by_digest.get(row["digest"]), row) for row in rows]


def _from_trial(trial: Mapping[str, Any] | None, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what only the table of trials says of a network: its shape, and whether it fits."""
    if trial is None:
        return {"blocks": row.get("blocks", ""), "drawing": "", "fits": None}
    network = _network(trial)
    drawing = "" if network is None else architecture_html(network.renamed(row["name"]))
    return {
        "peak_memory_bytes": row.get("peak_memory_bytes") or _whole(trial.get("memory_bytes")),
        "weight_bytes": row.get("weight_bytes") or _whole(trial.get("size_bytes")),
        "blocks": row.get("blocks") or _words(trial, network),
        "drawing": Markup(drawing),
        "fits": bool(trial["feasible"]),
    }


def _whole(value: float | None) -> int | None:
    return None if value is None or value != value else int(value)


def _network(trial: Mapping[str, Any]) -> Architecture | None:
    """Return the network of a row of a run's table; None in tables of older runs."""
    if not trial.get("architecture"):
        return None
    return Architecture.from_dict(json.loads(trial["architecture"]))


def _words(trial: Mapping[str, Any], network: Architecture | None) -> str:
    return str(trial["blocks"]).replace("|", "; ") if network is None else in_words(network)


def front_rows(front: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a row for each network of the front, with its shape and what it is filtered by."""
    return [
        row | {"words": _words(row, _network(row)), "choices": choices(row)}
        for row in rows_of(front[:MOST_FRONT_ROWS])
    ]
