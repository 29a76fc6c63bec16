"""How training changed the order, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from effsearch.report.figure import short_label


def refined_lines(refined: Mapping[str, Any]) -> list[str]:
    """Return the ranking by training in a few lines for the console."""
    lines = [
        f"{'trained':<9}{'by score':<10}{refined.get('metric', 'top-1'):<18}{'epochs':<26}network"
    ]
    for row in refined["networks"]:
        place = "-" if row["rank_by_training"] is None else str(row["rank_by_training"])
        lines.append(
            f"{place:<9}{row['rank_by_score']!s:<10}{metric_text(row, metric_key(refined)):<18}"
            f"{epochs_text(row, refined['epochs']):<26}{_name(row)}"
        )
    return [*lines, refined["sureness"]]


def epochs_text(row: Mapping[str, Any], epochs: int) -> str:
    """Return in words how far a training went.

    Args:
        row: of the refinement's networks.
        epochs: of a whole training.
    """
    if row["state"] == "failed":
        return f"failed after {row['epochs']}"
    text = f"{row['epochs']} of {epochs}"
    return text if row["stopped_at"] is None else f"{text}, stopped by ASHA"


def _name(row: Mapping[str, Any]) -> str:
    if row["baseline"]:
        return short_label(row["name"])
    return str(row["digest"]) + ("" if row["path"] is None else f" ({row['path']})")


def network_name(row: Mapping[str, Any]) -> str:
    """Return what the page calls a network of a refinement: a winner by its rank."""
    if row["baseline"]:
        return short_label(row["name"])
    if row["path"] is not None:
        return f"winner {row['path'].rpartition('/')[2]}"
    return f"candidate {row['digest']}"


def metric_key(refined: Mapping[str, Any]) -> str:
    """Return what a refinement's rows call their metric."""
    return str(refined.get("key", "top1"))  # older runs trained classifiers alone


def metric_text(row: Mapping[str, Any], key: str) -> str:
    """Return a network's trained metric with its standard error, or `none`.

    Args:
        row: of the refinement's networks.
        key: of the metric.
    """
    return "none" if row[key] is None else f"{row[key]:.2f} ± {row[f'{key}_std']:.2f} %"
