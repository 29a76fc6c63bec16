"""The proxy card's picture: tau of every score with its interval, beside the noise ceiling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_COLOURS = {
    "count": "#8c8c8c",
    "zero-cost": "#c9a227",
    "published": "#3b6fb6",
    "inherited": "#9b4fb0",
}
_TITLES = {"all": "over all pairs", "near": "pairs within {near:.0%} of latency"}


def draw(card: Mapping[str, Any], path: Path) -> None:
    """Write the picture."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    tables = card["agreement"]
    order = [row["score"] for row in sorted(tables["all"]["scores"], key=lambda row: row["tau"])]
    figure = Figure(figsize=(10, 0.28 * len(order) + 1.6), layout="constrained")
    axes = figure.subplots(1, len(tables), sharey=True, squeeze=False)[0]
    for axis, (key, table) in zip(axes, tables.items(), strict=True):
        rows = {row["score"]: row for row in table["scores"]}
        for height, name in enumerate(order):
            row = rows[name]
            low, high = row["interval"]
            colour = _COLOURS[row["group"]]
            axis.plot([low, high], [height, height], color=colour, linewidth=2, alpha=0.5)
            axis.plot(row["tau"], height, "o", color=colour, markersize=5)
        if table["noise_ceiling"] is not None:
            axis.axvline(table["noise_ceiling"], color="black", linestyle=":", linewidth=1)
            axis.text(
                table["noise_ceiling"], len(order) - 0.4, "noise ceiling", fontsize=7, ha="right"
            )
        axis.axvline(0, color="#d0d0d0", linewidth=0.8, zorder=0)
        axis.set_title(
            f"{_TITLES[key].format(near=card['near_within'])} ({table['pairs']})", fontsize=9
        )
        axis.set_xlabel("Kendall's tau with trained top-1 (95% bootstrap)", fontsize=8)
        axis.set_yticks(range(len(order)), order, fontsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    groups = dict.fromkeys(row["group"] for row in tables["all"]["scores"])
    figure.legend(
        handles=[Line2D([], [], color=_COLOURS[g], marker="o", label=g) for g in groups],
        loc="outside lower center",
        ncols=len(groups),
        fontsize=8,
        frameon=False,
    )
    figure.savefig(path, dpi=130)
