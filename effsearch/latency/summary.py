"""What each table says of itself, in one row."""

from __future__ import annotations

from typing import Any

from effsearch.latency.tables import SHIPPED, read_model, table_paths


def summaries() -> list[dict[str, Any]]:
    """Return a row for every known table.

    `held_out_error` is the median relative error on networks that the table has not seen.

    Raises:
        UserError: where a table's file is broken; names it.
    """
    rows = []
    for name, path in table_paths().items():
        meta = read_model(path).meta
        errors = meta.get("errors", {})
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
                "references": meta.get("references"),
                "held_out_error": errors.get("median"),
                "rank_correlation": errors.get("spearman"),
                "errors": errors,
                "shipped": path.parent == SHIPPED,
                "path": str(path),
            }
        )
    return rows
