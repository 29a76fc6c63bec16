"""The page's part on a refinement: how training changed the order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from effsearch.report.figure import short_label
from effsearch.report.plots import curves_plot
from effsearch.report.refined import top1_text
from effsearch.report.rendering import render

_UP, _DOWN, _SAME = "#2e8b57", "#d1495b", "#52606d"
_ROW, _LEFT, _RIGHT, _WIDTH = 28, 250, 470, 720


def refined_section(refined: Mapping[str, Any]) -> Markup:
    """Return the page's part on a refinement, as HTML."""
    slopes = _slopes(refined["networks"])
    return render("refined.html", refined=refined, slopes=slopes, curves=curves_plot(refined))


def _slopes(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
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
                "colour": _UP if after < before else _DOWN if after > before else _SAME,
                "name": short_label(row["name"]) if row["baseline"] else row["digest"],
                "top1": top1_text(row),
            }
        )
    height = _ROW * (len(placed) + 1)
    return {"left": _LEFT, "right": _RIGHT, "width": _WIDTH, "height": height, "lines": lines}
