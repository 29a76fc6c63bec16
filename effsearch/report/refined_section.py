"""The page's part on a refinement: how training changed the order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import Any

from markupsafe import Markup

from effsearch.report.chart import Axis, Chart
from effsearch.report.refined import metric_key, metric_text, network_name
from effsearch.report.rendering import render

_DASHES = ("", "8 4", "2 3", "10 3 2 3", "14 5", "5 2 2 2 2 2")
_ROW, _LEFT, _RIGHT, _WIDTH = 28, 180, 320, 600


def refined_section(refined: Mapping[str, Any]) -> Markup:
    """Return the page's part on a refinement, as HTML."""
    key = metric_key(refined)
    slopes = _slopes(refined["networks"], key)
    return render("refined.html", refined=refined, key=key, slopes=slopes, curves=_curves(refined))


def _curves(refined: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metric over epochs for each network that has it, told apart by dashes."""
    rows = [row for row in refined["networks"] if row["curve"]]
    chart = Chart(
        Axis("epochs", 0.0, float(refined["epochs"])),
        Axis.around(refined["unit"], (value for row in rows for _, value in row["curve"]), 0.05),
    )
    lines = [
        {
            "name": network_name(row),
            "points": chart.line(row["curve"]),
            "places": [chart.place(*point) for point in row["curve"]],
            "dashes": dashes,
        }
        for row, dashes in zip(rows, cycle(_DASHES), strict=False)
    ]
    return {"chart": chart, "lines": lines}


def _slopes(rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, Any]:
    """Return a line for each network, in px, from its rank by score to that by training."""
    placed = [row for row in rows if row["rank_by_training"] is not None]
    # Without those that failed, ranks by score have no gaps.
    by_score = sorted(placed, key=lambda row: row["rank_by_score"])
    lines = []
    for row in placed:
        before, after = by_score.index(row), row["rank_by_training"] - 1
        y1, y2 = (_ROW * (place + 1) + 4 for place in (before, after))
        lines.append(
            {
                "y1": y1,
                "y2": y2,
                "moved": "up" if after < before else "down" if after > before else "same",
                "name": network_name(row),
                "metric": metric_text(row, key),
            }
        )
    height = _ROW * (len(placed) + 1)
    return {"left": _LEFT, "right": _RIGHT, "width": _WIDTH, "height": height, "lines": lines}
