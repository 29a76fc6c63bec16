"""The simulation of many workers as a page and a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from results.search.known_front_report import GOAL

MANY = 1000
_DRAWN = 4  # curves of the picture


def medians(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return for each number of workers what the goal took; what was not reached is infinite."""
    result = []
    for workers in dict.fromkeys(row["workers"] for row in found["rows"]):
        mine = [row for row in found["rows"] if row["workers"] == workers]
        scored, times = (
            float(np.median([np.inf if row[key] is None else row[key] for row in mine]))
            for key in ("scored", "time")
        )
        result.append({"workers": workers, "seeds": len(mine), "scored": scored, "time": times})
    return result


def page(found: Mapping[str, Any]) -> str:
    """Return the page."""
    rows = medians(found)
    one = rows[0]
    lines = [
        "# A thousand workers",
        "",
        f"Made by `{found['command']}`, with a load of {found['machine']['load_average'][0]:.0f} "
        f"on {found['machine']['cores']} cores; times of the database are of that hour.",
        "",
        "Where one score takes minutes, a search wants many workers. What stands in the way: what "
        "is planned knows less the more is under way, planning takes time, and so does the "
        "database.",
        "",
        "## What parallelism costs",
        "",
        "The planner for slow scores in virtual time, on the front that is known "
        f"([known_front.md](known_front.md), {found['members']:,} networks). Scores take a "
        f"log-normal time (a deviation of {found['spread']:g} of its logarithm; the median counts "
        f"as 1), workers are never idle, and whenever one in {found['share']} is free the next "
        "candidates are planned from what is known. Medians over seeds.",
        "",
        f"| workers | scored networks to {GOAL:.0%} of the front's hypervolume | times a score "
        "takes, until then | faster than one worker |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if np.isfinite(row["scored"]):
            lines.append(
                f"| {row['workers']} | {row['scored']:,.0f} | {row['time']:.1f} | "
                f"{one['time'] / row['time']:.1f} times |"
            )
        else:
            lines.append(f"| {row['workers']} | not in {found['scored_at_most']:,} | | |")
    lines += [
        "",
        "![Scored networks and time against workers](workers.png)",
        "",
        "## What asking and storing take",
        "",
        "| planning on `mobile`, after | in batches of | CPU time a candidate |",
        "|---|---|---|",
        *(
            f"| {row['scored']:,} scores | {row['batch']} | {row['cpu_ms_each']:.1f} ms |"
            for row in found["asking"]
        ),
        "",
        f"Pricing takes {found['price_cpu_ms_each']:.1f} ms a candidate, in the driver.",
        "",
        "| database | trials in it | a claim | a result | a look, nothing under way |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {row['trials']} | {row['claim_ms']:.0f} ms | {row['tell_ms']:.0f} ms | "
            f"{row['look_ms']:.0f} ms |"
            for name, pace in found["storing"].items()
            for row in pace["rows"]
        ),
        "",
        *(
            f"With {pace['claimed']} trials under way, a look at {name} takes "
            f"{pace['look_ms']:.0f} ms: every trial that runs is read again."
            for name, pace in found["storing"].items()
        ),
        "",
        "## So",
        "",
        *_conclusions(found, rows),
    ]
    return "\n".join(lines) + "\n"


def _conclusions(found: Mapping[str, Any], rows: list[dict[str, Any]]) -> list[str]:
    reached = [row for row in rows if np.isfinite(row["scored"])]
    most = reached[-1]
    fastest = min(reached, key=lambda row: float(row["time"]))
    plan = {row["batch"]: row["cpu_ms_each"] for row in found["asking"] if row["scored"] == 800}
    small, large = plan[min(plan)], plan[max(plan)]
    price = found["price_cpu_ms_each"]
    name, pace = list(found["storing"].items())[-1]
    store = pace["rows"][-1]["claim_ms"] + pace["rows"][-1]["tell_ms"]
    look = pace["look_ms"] * MANY / pace["claimed"]
    return [
        f"- {most['workers']:,} workers need {most['scored'] / rows[0]['scored']:.1f} times as "
        f"many scores as one, and are {rows[0]['time'] / most['time']:.0f} times faster; the "
        f"fastest here are {fastest['workers']:,}. The first candidates of all workers are drawn "
        "before anything is known, so that a search of a few hundred scores cannot use a thousand.",
        f"- One driver plans and prices {1000 / (small + price):.0f} candidates a second in "
        f"batches of {min(plan)}, {1000 / (large + price):.0f} in batches of {max(plan)}. {MANY:,} "
        f"workers keep it busy where a score takes {small + price:.0f} s, or {large + price:.0f} "
        "s; scores that take longer leave it time.",
        f"- {name} takes {store:.0f} ms for a claim and its result, one after the other: "
        f"{1000 / store:.0f} scores a second for one driver, which is what {MANY:,} workers do "
        f"where a score takes {store:.0f} s. A look at {MANY:,} running trials would take about "
        f"{look / 1000:.1f} s, and every driver looks after each round.",
        f"- What to change for {MANY:,} workers: plan in batches of {max(plan)}; a few drivers "
        "with many workers each, rather than many with few, since every one plans by itself and "
        "reads what all are at; write a round's claims and results in one transaction, where "
        "Optuna's storage takes each trial and attribute by itself; and begin with what the fast "
        "estimate holds for the best, not with random networks.",
    ]


def write(found: Mapping[str, Any], folder: Path) -> None:
    """Write page and picture to a folder."""
    text = page(found)
    (folder / "workers.md").write_text(text)
    print(text)
    rows = [row for row in medians(found) if np.isfinite(row["scored"])]
    workers = np.array([row["workers"] for row in rows])
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    step = max(1, len(rows) // _DRAWN)
    for row in rows[::step]:
        curves = [r["curve"] for r in found["rows"] if r["workers"] == row["workers"]]
        first = min(curves, key=lambda curve: abs(len(curve) - np.median([*map(len, curves)])))
        scored, _, share = np.array(first).T
        axes[0].plot(scored, 1 - share, label=f"{row['workers']} under way")
    axes[0].axhline(1 - GOAL, color="grey", linestyle=":")
    axes[0].set(
        xscale="log", yscale="log", xlabel="scored networks", ylabel="hypervolume that is missing"
    )
    axes[0].legend()
    times = np.array([row["time"] for row in rows])
    axes[1].plot(workers, times[0] / times, marker="o", label="simulated")
    axes[1].plot(workers, workers / workers[0], color="grey", linestyle=":", label="ideal")
    axes[1].set(xscale="log", yscale="log", xlabel="workers", ylabel="times as fast as one worker")
    axes[1].legend()
    figure.savefig(folder / "workers.png", dpi=120)
    plt.close(figure)
