"""An overview of the tables: what each says of itself, in one row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from effsearch.latency.catalogue import SHIPPED, table_paths
from effsearch.latency.models.registry import read_model
from effsearch.messages import say
from searchspace import UserError


def summaries(say: Callable[[str], None] = say) -> list[dict[str, Any]]:
    """Return a row for every known table; one that is broken hides no other.

    `held_out_error` is the median relative error on networks that the table has not seen.

    Args:
        say: told of tables that are broken.
    """
    rows = []
    for name, path in table_paths().items():
        try:
            meta = read_model(path).meta
        except UserError as error:
            say(f"left out: {error}")
            continue
        held_out = meta.get("held_out", {})
        scores = held_out.get("leave_network_out", held_out)
        median = _estimate(scores.get("median_error_percent"))
        rows.append(
            {
                "name": name,
                "kind": meta["kind"],
                "device": meta.get("device"),
                "os": meta.get("os"),
                "runtime": meta.get("runtime"),
                "compute_unit": meta.get("compute_unit"),
                "precision": meta.get("precision"),
                "date": meta.get("date"),
                "threads": meta.get("threads"),
                "references": meta.get("reference_count"),
                "held_out_error": None if median is None else median / 100,
                "rank_correlation": _estimate(scores.get("spearman")),
                "held_out": held_out,
                "shipped": path.parent == SHIPPED,
                "path": str(path),
            }
        )
    return rows


def _estimate(value: Any) -> float | None:
    """The estimate of [estimate, low, high], or of a plain number."""
    if isinstance(value, list):
        value = value[0] if value else None
    return None if value is None else float(value)
