"""The page's chart of how the search went: the front's hypervolume over the networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from effsearch.report.chart import Axis, Chart
from effsearch.search.pareto import hypervolume, non_dominated

_POINTS = 50


@dataclass(frozen=True)
class ProgressChart:
    """The chart.

    Attributes:
        chart: the plane.
        line: hypervolume in percent of the last, as SVG's `points`.
        points: the first and the last: networks `considered`, `best_lower_bound`, `hypervolume`.
    """

    chart: Chart
    line: str
    points: tuple[Mapping[str, Any], Mapping[str, Any]]


def progress_chart(summary: Mapping[str, Any], trials: pd.DataFrame) -> ProgressChart | None:
    """Return the chart; None where there is too little to draw.

    Args:
        summary: of the run.
        trials: its table, which tells where the search recorded all that it considered.
    """
    points = summary.get("progress") or _recorded(trials, float(summary["budget_ms"]))
    if len(points) < 2 or not points[-1]["hypervolume"]:
        return None
    last = points[-1]["hypervolume"]
    shares = [(point["considered"], 100 * point["hypervolume"] / last) for point in points]
    chart = Chart(
        Axis("networks", 0.0, float(shares[-1][0])),
        Axis.around("hypervolume, % of the last", (share for _, share in shares), 0.05),
    )
    return ProgressChart(chart, chart.line(shares), (points[0], points[-1]))


def _recorded(trials: pd.DataFrame, budget_ms: float) -> Sequence[Mapping[str, Any]]:
    """Return how the front grew over the recorded candidates.

    The reference point is the budget and the least score on the last front.
    """
    fits = trials[(trials["feasible"] == 1) & (trials["origin"] != "published")]
    if fits.empty:
        return []
    costs, scores = fits["quantile_ms"].to_numpy(float), fits["lower_bound"].to_numpy(float)
    least = float(scores[non_dominated(scores, costs)].min())
    counts = np.unique(np.linspace(1, len(fits), _POINTS).astype(int))
    return [
        {
            "considered": int(fits["number"].iloc[count - 1]) + 1,
            "best_lower_bound": float(scores[:count].max()),
            "hypervolume": hypervolume(
                scores[:count].tolist(), costs[:count].tolist(), least, budget_ms
            ),
        }
        for count in counts
    ]
