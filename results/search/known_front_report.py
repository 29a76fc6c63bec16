"""The comparison on a known front as a page and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

GOAL = 0.99  # of the exact front's hypervolume
SHARE = 0.04  # of the space that may be scored, unless told otherwise
STOCK = ("NSGA-II", "NSGA-III", "TPE", "GP")


def medians(found: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each sampler's medians over seeds; a goal that was not reached counts as infinite."""
    result = {}
    for name in dict.fromkeys(row["sampler"] for row in found["rows"]):
        mine = [row for row in found["rows"] if row["sampler"] == name]
        goals = [row["scored_to_goal"] or np.inf for row in mine]
        result[name] = {
            "seeds": len(mine),
            "reached": sum(np.isfinite(goals)),
            "scored_to_goal": float(np.median(goals)),
            "scored": float(np.median([row["scored"] for row in mine])),
            "hypervolume_share": float(np.median([row["hypervolume_share"] for row in mine])),
            "best_gap": float(np.median([found["best"] - row["best"] for row in mine])),
            "ms_each": float(np.median([row["ms_each"] for row in mine])),
            "asked": float(np.median([row["asked"] for row in mine])),
        }
    return result


def page(found: Mapping[str, Any]) -> str:
    """Return the table and what it says of the aims."""
    rows = medians(found)
    count = found["members"]
    lines = [
        "# Samplers on a front that is known",
        "",
        f"Made by `{found['command']}`. `{found['space']}`, a slice of `mobile`: {count:,} "
        f"networks, all priced for {found['device']} and scored; {found['within_budget']:,} are "
        f"within {found['budget_ms']:.3f} ms, {found['front']} of them on the front. All samplers "
        f"begin with the same {found['enqueued']} published networks; what is over the budget or "
        "was scored before is told and costs nothing. Medians over seeds.",
        "",
        f"| sampler | seeds | scored networks to {GOAL:.0%} of the front's hypervolume | share of "
        "the space | hypervolume at the end | best, below the space's best | scored (asked) | "
        "ms each |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["scored_to_goal"]):
        goal = row["scored_to_goal"]
        reached = (
            f"{goal:,.0f}" if np.isfinite(goal) else f"not ({row['reached']} of the seeds did)"
        )
        share = f"{goal / count:.2%}" if np.isfinite(goal) else f"over {row['scored'] / count:.2%}"
        lines.append(
            f"| {name} | {row['seeds']} | {reached} | {share} | {row['hypervolume_share']:.2%} | "
            f"{row['best_gap']:.3f} | {row['scored']:,.0f} ({row['asked']:,.0f}) | "
            f"{row['ms_each']:.1f} |"
        )
    if not {"ours", "random", "NSGA-II"} <= rows.keys():
        return "\n".join(lines) + "\n"
    ours = rows["ours"]["scored_to_goal"]
    stock = {name: rows[name]["scored_to_goal"] for name in STOCK if name in rows}
    best = min(stock, key=lambda name: stock[name])
    lines += [
        "",
        f"Aims: the goal after at most {SHARE:.0%} of the space: {ours / count:.2%}. At least 4 "
        f"times fewer than random: {_ratio(rows['random'], ours)}. At least 1.5 times fewer than "
        f"the best stock sampler ({best}): {_ratio(rows[best], ours)}.",
    ]
    return "\n".join(lines) + "\n"


def _ratio(rival: Mapping[str, Any], ours: float) -> str:
    if np.isfinite(rival["scored_to_goal"]):
        return f"{rival['scored_to_goal'] / ours:.1f}"
    return f"over {rival['scored'] / ours:.1f} (it did not get there)"


def write(found: Mapping[str, Any], folder: Path) -> None:
    """Write page and picture to a folder."""
    (folder / "known_front.md").write_text(page(found))
    print(page(found))
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    for colour, name in enumerate(dict.fromkeys(row["sampler"] for row in found["rows"])):
        curves = [row["curve"] for row in found["rows"] if row["sampler"] == name]
        length = min(map(len, curves))
        if not length:
            continue
        values = np.median([curve[:length] for curve in curves], axis=0)
        axes[0].plot(values[:, 0], 1 - values[:, 1], color=f"C{colour}", label=name)
        axes[1].plot(values[:, 0], found["best"] - values[:, 2], color=f"C{colour}", label=name)
    axes[0].axhline(1 - GOAL, color="grey", linestyle=":")
    axes[0].set(yscale="log", xlabel="scored networks", ylabel="hypervolume that is missing")
    axes[1].set(
        yscale="symlog", xlabel="scored networks", ylabel="best so far below the space's best"
    )
    axes[1].set_yscale("symlog", linthresh=1e-3)
    axes[0].legend()
    figure.savefig(folder / "known_front.png", dpi=120)
    plt.close(figure)
