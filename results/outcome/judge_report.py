"""The judge's figures as Markdown and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def text(results: Sequence[dict[str, Any]]) -> str:
    """Returns the page on all recipes."""
    lines = [
        "# Which recipe ranks published networks as ImageNet did",
        "",
        "Made by `python -m results.outcome.judge`. tau: Kendall's, between top-1 by the recipe "
        "and published ImageNet top-1; 95 % interval by bootstrap over the networks; chance: share "
        "of random orders that agree as well. By MACs: the same networks ranked by counting.",
        "",
        "| data | recipe | epochs, px | networks (trainings) | s a training | tau, all pairs | "
        "chance | tau within families | by MACs | seed noise, points |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        every, noise = result["final"]["all"], result["seed_noise"]["std_points"]
        lines.append(
            f"| {result['data']} | {result['recipe']} | {result['epochs']}, {result['side_px']} | "
            f"{result['final']['networks']} ({result['trainings']}) | "
            f"{result['seconds_median']:.0f} | {_tau(every)} | "
            f"{every['chance'] if every else '-'} | {_tau(result['final']['within'])} | "
            f"{_tau(result['by_macs']['all'])} | {'-' if noise is None else f'{noise:.1f}'} |"
        )
    for result in results:
        lines += ["", f"## {result['recipe']} on {result['data']}, {result['device']}", ""]
        lines += ["| network | published | here | seeds | s |", "|---|---|---|---|---|"]
        lines += [
            f"| {n['network']} | {n['published']}{' (distilled)' if n['distilled'] else ''} | "
            f"{n['top1']} | {n['seeds']} | {n['seconds']:.0f} |"
            for n in result["networks"]
        ]
        curve = ", ".join(
            f"{point['epoch']}: {point['all']['tau']:.2f}"
            for point in result["curve"]
            if point["all"]
        )
        lines += ["", f"tau after each epoch: {curve}"]
        own = ", ".join(f"{point['epoch']}: {point['of_last']:.2f}" for point in result["curve"])
        lines += ["", f"tau with the order after the last epoch: {own}"]
    return "\n".join(lines) + "\n"


def _tau(found: dict[str, Any] | None) -> str:
    if found is None:
        return "-"
    low, high = found["interval_95"]
    return f"{found['tau']:.2f} ({low:.2f} to {high:.2f}), {found['pairs']} pairs"


def draw(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws tau against cost, and tau over the epochs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), constrained_layout=True)
    for colour, result in enumerate(results):
        name = f"{result['recipe']}, {result['data'].split(':')[0]}"
        every = result["final"]["all"]
        if every:
            low, high = every["interval_95"]
            error = [[max(0.0, every["tau"] - low)], [max(0.0, high - every["tau"])]]
            left.errorbar(
                result["teramacs_median"], every["tau"], error, fmt="o", color=f"C{colour}"
            )
        for kind, style in (("all", "-"), ("within", "--")):
            points = [(p["epoch"], p[kind]["tau"]) for p in result["curve"] if p[kind]]
            label = name if kind == "all" else None
            right.plot(*zip(*points, strict=True), style, color=f"C{colour}", label=label)
    left.axhline(0, color="grey", linewidth=0.8)
    macs = results[0]["by_macs"]["all"]
    if macs:
        left.axhline(macs["tau"], color="grey", linestyle=":", label="ranked by MACs")
        left.legend(loc="lower right")
    left.set(
        xscale="log",
        ylim=(-1, 1),
        xlabel="arithmetic of the median training, 10^12 multiply-accumulates",
        ylabel="Kendall's tau with published top-1",
    )
    right.axhline(0, color="grey", linewidth=0.8)
    right.set(ylim=(-1, 1), xlabel="epoch", ylabel="tau (dashed: within families)")
    right.legend(loc="lower right", fontsize="small")
    figure.savefig(path, dpi=120)
    plt.close(figure)
