"""`pareto.png`: candidates, the front, the budget and the published networks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from effsearch.files import atomic_write
from effsearch.messages import percent
from effsearch.report.chart import LOG_STEPS
from effsearch.report.own import OWN, own_rows
from searchspace.drawing import FAMILY_COLOURS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = {
    "shvit": "SHViT",
    "swiftformer": "SwiftFormer",
    "efficientvit": "EfficientViT",
    "efficientmod": "EfficientMod",
}
MARKERS = {"shvit": "D", "swiftformer": "s", "efficientvit": "v", "efficientmod": "P"}
CANDIDATE, FRONT, OVER, BUDGET = "#8fb3d9", "#12436d", "#c9c9c9", "#222222"
BY_HAND = "#7a4a1e"


def family(network: str) -> str:
    """Return the family of a published network from its name."""
    return network.split("_")[0]


def short_label(network: str) -> str:
    """Return a published network's name as its paper writes it."""
    head, _, rest = network.partition("_")
    name = NAMES.get(head, head)
    if rest.startswith("seg_"):
        name, rest = f"{name}-Seg", rest.removeprefix("seg_")
    size, _, variant = rest.partition("_")
    label = f"{name}-{size.upper()}" if rest else network
    return f"{label} ({variant})" if variant else label


def split(trials: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the candidates and the published networks among the priced and scored."""
    done = trials[trials["state"] == "complete"]
    by_hand = done["origin"].isin(["published", "scaled"])
    return done[~by_hand], done[done["origin"] == "published"]


def scaled_front(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the front of what scaling published networks by hand gives, fastest first."""
    done = trials[(trials["state"] == "complete") & trials["origin"].isin(["published", "scaled"])]
    done = done.sort_values(["quantile_ms", "lower_bound"], ascending=[True, False])
    return done[done["lower_bound"] > done["lower_bound"].cummax().shift(fill_value=-np.inf)]


def axis_labels(summary: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the axes say: both numbers are bounds, with the uncertainty in them."""
    latency = summary["latency"]
    score = summary["score"]
    return (
        f"latency on {summary['device']} in ms, {latency['kind']}: "
        f"{percent(summary['confidence'])} sure to stay below",
        f"{score['unit']}, {score['kind']}: 80% sure to exceed",
    )


def limits(summary: Mapping[str, Any], trials: pd.DataFrame) -> tuple[float, float, float, float]:
    """Return the part of the plane worth looking at: (left, right, bottom, top)."""
    candidates, published = split(trials)
    budget = float(summary["budget_ms"])
    known = pd.concat([published, own_rows(trials, summary.get("yours", []))])
    shown = known[known["quantile_ms"] <= 6 * budget]
    inside = candidates[candidates["quantile_ms"] <= 2.5 * budget]
    right = max([budget * 1.6, *shown["quantile_ms"]])
    if inside.empty:  # nothing comes near the budget: show how far off all are
        inside, shown = candidates, published
        right = max([right, *inside["quantile_ms"].dropna().quantile([0.5]).dropna()])
    left = min([budget * 0.5, *inside["quantile_ms"].quantile([0.002]).dropna()])
    left = min([left, *shown["quantile_ms"]])
    scores = [*inside["lower_bound"].quantile([0.1]).dropna(), *shown["lower_bound"]]
    highest = [*inside["lower_bound"].nlargest(1), *shown["lower_bound"].nlargest(1)]
    bottom, top = min(scores, default=0.0), max(highest, default=1.0)
    margin = 0.06 * ((top - bottom) or abs(top) or 1.0)
    return left * 0.93, right * 1.12, bottom - margin, top + margin


def draw_pareto(
    trials: pd.DataFrame, front: pd.DataFrame, summary: Mapping[str, Any], path: Path
) -> None:
    """Draw the picture to a PNG file; see `pareto_figure`."""
    figure = pareto_figure(trials, front, summary)
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png")


def pareto_figure(trials: pd.DataFrame, front: pd.DataFrame, summary: Mapping[str, Any]) -> Figure:
    """Return the picture.

    Args:
        trials: the table of trials.
        front: the table of the front.
        summary: of the run.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    candidates, published = split(trials)
    left, right, bottom, top = limits(summary, trials)
    budget = float(summary["budget_ms"])
    with rc_context({"font.family": "DejaVu Sans", "font.size": 10}):
        figure = Figure(figsize=(9, 5.6), dpi=160)
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.set_xscale("log")
        axes.axvspan(left, budget, color="#eef5ee", zorder=0, lw=0)
        fits = candidates["feasible"] == 1
        for rows, colour, text in (
            (candidates[~fits], OVER, "candidate over the limits"),
            (candidates[fits], CANDIDATE, "candidate within the limits"),
        ):
            axes.scatter(
                rows["quantile_ms"],
                rows["lower_bound"],
                s=7,
                color=colour,
                alpha=0.55,
                lw=0,
                label=f"{text} ({len(rows):,})",
                zorder=2,
                rasterized=True,
            )
        if len(front):
            axes.step(
                front["quantile_ms"],
                front["lower_bound"],
                where="post",
                color=FRONT,
                lw=1.4,
                zorder=4,
                label=f"front ({len(front):,})",
            )
            axes.scatter(front["quantile_ms"], front["lower_bound"], s=11, color=FRONT, zorder=4)
        by_hand = scaled_front(trials)
        if (by_hand["origin"] == "scaled").any():
            axes.step(
                by_hand["quantile_ms"],
                by_hand["lower_bound"],
                where="post",
                color=BY_HAND,
                lw=1.2,
                ls=(0, (4, 2)),
                zorder=4,
                label="published networks scaled by hand, front",
            )
        winners = trials[trials["digest"].isin([w["digest"] for w in summary["winners"]])]
        if len(winners):
            axes.scatter(
                winners["quantile_ms"],
                winners["lower_bound"],
                s=120,
                marker="*",
                color="#ffcf33",
                edgecolor=FRONT,
                lw=0.9,
                zorder=7,
                label=f"winner ({len(winners)})",
            )
        axes.axvline(budget, color=BUDGET, lw=1.2, ls=(0, (5, 3)), zorder=3)
        axes.text(
            budget * 1.008,
            bottom + 0.015 * (top - bottom),
            f"budget {budget:g} ms",
            rotation=90,
            va="bottom",
            ha="left",
            color=BUDGET,
            fontsize=9,
        )
        for name in sorted(NAMES):
            rows = published[published["source"].map(family) == name]
            rows = rows[rows["quantile_ms"] <= right].sort_values("quantile_ms")
            label = f"{NAMES[name]}, published"
            _marks(axes, rows, MARKERS[name], 7, FAMILY_COLOURS[name], label, 6)
        axes.set_xlim(left, right)
        axes.set_ylim(bottom, top)
        own = own_rows(trials, summary.get("yours", []))
        own = own[own["quantile_ms"] <= right]
        _marks(axes, own, "^", 8, OWN, "yours", 8)
        known = published[published["quantile_ms"] <= right]
        named = pd.concat([own, known.assign(source=known["source"].map(short_label))])
        _label(axes, named.drop_duplicates("digest"), winners, budget)
        x_label, y_label = axis_labels(summary)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        axes.xaxis.set_major_locator(LogLocator(base=10, subs=LOG_STEPS))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(color="#e4e4e4", lw=0.6, zorder=1)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        considered = summary.get("considered") or 0
        of_all = f" of {considered:,}" if considered > len(trials) else ""
        axes.set_title(
            f"{len(candidates):,}{of_all} backbones for {summary['device']} in {budget:g} ms",
            loc="left",
            fontsize=12,
            fontweight="bold",
        )
        legend = axes.legend(loc="lower right", fontsize=8, framealpha=0.92, edgecolor="#dddddd")
        legend.set_zorder(8)
        for handle in legend.legend_handles[:2]:
            handle.set(sizes=[30], alpha=1)  # type: ignore[union-attr]
        figure.tight_layout()
    return figure


def _marks(
    axes: Any, rows: pd.DataFrame, marker: str, size: int, colour: str, label: str, level: int
) -> None:
    """Draw known networks, if there are any."""
    if len(rows):
        axes.plot(
            rows["quantile_ms"],
            rows["lower_bound"],
            marker,
            ms=size,
            color=colour,
            mec="white",
            mew=0.8,
            zorder=level,
            label=label,
        )


def _label(axes: Any, published: pd.DataFrame, winners: pd.DataFrame, budget: float) -> None:
    """Write the networks' names beside their marks, each where the least is in its way."""
    from matplotlib import patheffects

    figure = axes.figure
    figure.canvas.draw()
    to_pixels = axes.transData.transform
    frame = axes.get_window_extent()
    marks = to_pixels(published[["quantile_ms", "lower_bound"]].to_numpy(float))
    stars = to_pixels(winners[["quantile_ms", "lower_bound"]].to_numpy(float).reshape(-1, 2))
    taken: list[tuple[float, float, float, float]] = []
    scale = figure.dpi / 72
    obstacles = [(x, y, 4 * scale, 2.0) for x, y in marks]
    obstacles += [(x, y, 6 * scale, 2.0) for x, y in stars]
    line = to_pixels((budget, 1.0))[0]
    taken.append((line - scale, frame.y0, line + 8 * scale, frame.y1))
    for (_, row), (x, y) in zip(published.iterrows(), marks, strict=True):
        if not (frame.x0 <= x <= frame.x1 and frame.y0 <= y <= frame.y1):
            continue
        text = str(row["source"])
        width, height = 4.5 * len(text) * scale, 9 * scale
        best, least = None, np.inf
        for dx, dy, align in (
            (7, -3, "left"),
            (-7, -3, "right"),
            (0, 8, "center"),
            (0, -14, "center"),
            (7, 7, "left"),
            (-7, 7, "right"),
            (7, -13, "left"),
            (-7, -13, "right"),
        ):
            shift = {"left": 0.0, "right": width, "center": width / 2}[align]
            x0, y0 = x + dx * scale - shift, y + dy * scale
            box = (x0, y0, x0 + width, y0 + height)
            cost = 4.0 * sum(_overlap(box, other) for other in taken)
            cost += sum(
                weight * _overlap(box, (mx - half, my - half, mx + half, my + half))
                for mx, my, half, weight in obstacles
            )
            outside = max(0.0, box[2] - frame.x1) + max(0.0, frame.x0 - box[0])
            cost += 100 * outside + 100 * max(0.0, box[3] - frame.y1, frame.y0 - box[1])
            if cost < least - 1e-9:
                best, least = (dx, dy, align, box), cost
        assert best is not None
        taken.append(best[3])
        axes.annotate(
            text,
            (row["quantile_ms"], row["lower_bound"]),
            xytext=best[:2],
            textcoords="offset points",
            ha=best[2],
            fontsize=7.5,
            color="#333333",
            zorder=6,
            path_effects=[patheffects.withStroke(linewidth=2.2, foreground="white")],
        )


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0
