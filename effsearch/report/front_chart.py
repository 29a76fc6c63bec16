"""The page's picture of the front: marks by group, and what the page says of each."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from effsearch.report.chart import Axis, Chart, Place
from effsearch.report.figure import (
    NAMES,
    axis_labels,
    family,
    limits,
    scaled_front,
    short_label,
    split,
)
from effsearch.report.own import own_rows

MOST_CANDIDATES = 3000  # a page of more is slow, and over 2 MB
_RUN = re.compile(r"(\w+)x(\d+)")  # of equal blocks: type and depth


@dataclass(frozen=True)
class Group:
    """Marks of one shape and colour.

    Attributes:
        key: names shape and colour in the style.
        label: what the legend says.
        places: of the marks, in percent of width and height.
        points: what the page says of each mark, in the same order.
        line: through all of the group's networks, as SVG's `points`; empty for none.
    """

    key: str
    label: str
    places: list[Place]
    points: list[dict[str, Any]]
    line: str = ""


@dataclass(frozen=True)
class FrontChart:
    """The picture.

    Attributes:
        chart: the plane.
        groups: from the lowest layer to the uppermost.
        budget: where the budget stands, in percent of the width.
        beyond: how many marks are off the plane.
        left_out: how many candidates are not drawn, because there are too many.
    """

    chart: Chart
    groups: list[Group]
    budget: float
    beyond: int
    left_out: int

    @property
    def points(self) -> list[dict[str, Any]]:
        """What the page says of each mark, in the order in which they are drawn."""
        return [point for group in self.groups for point in group.points]


def front_chart(
    trials: pd.DataFrame, front: pd.DataFrame, summary: Mapping[str, Any]
) -> FrontChart:
    """Return the plane of latency and score.

    Args:
        trials: the table of trials.
        front: the table of the front.
        summary: of the run.
    """
    left, right, bottom, top = limits(summary, trials)
    x_label, y_label = axis_labels(summary)
    chart = Chart(Axis(x_label, left, right, log=True), Axis(y_label, bottom, top))
    candidates, published = split(trials)
    drawn = _thinned(candidates)
    fits = drawn["feasible"] == 1
    by_hand = scaled_front(trials)
    scaled = by_hand if (by_hand["origin"] == "scaled").any() else by_hand[:0]
    ranks = {winner["digest"]: rank for rank, winner in enumerate(summary["winners"], 1)}
    winners = trials[trials["digest"].isin(list(ranks))]
    tables = [
        ("over", "candidate over the limits", drawn[~fits]),
        ("within", "candidate within the limits", drawn[fits]),
        ("front", "front", front),
        ("scaled", "published networks scaled by hand", scaled),
        *((key, f"{name}, published", published[published["source"].map(family) == key])
          for key, name in NAMES.items()),
        ("yours", "yours", own_rows(trials, summary.get("yours", []))),
        ("winner", "winner", winners),
    ]  # fmt: skip
    groups = [_group(chart, key, label, table, ranks) for key, label, table in tables if len(table)]
    return FrontChart(
        chart,
        groups,
        chart.x.place(float(summary["budget_ms"])),
        sum(len(table) for *_, table in tables) - sum(len(group.places) for group in groups),
        len(candidates) - len(drawn),
    )


def _thinned(candidates: pd.DataFrame) -> pd.DataFrame:
    """Return candidates, evenly thinned where there are more than a page holds."""
    if len(candidates) <= MOST_CANDIDATES:
        return candidates
    return candidates.iloc[np.linspace(0, len(candidates) - 1, MOST_CANDIDATES).astype(int)]


def _group(
    chart: Chart, key: str, label: str, table: pd.DataFrame, ranks: Mapping[str, int]
) -> Group:
    values = list(zip(table["quantile_ms"], table["lower_bound"], strict=True))
    rows = [(at, row) for at, row in zip(values, rows_of(table), strict=True) if chart.holds(*at)]
    return Group(
        key,
        f"{label} ({len(rows):,})" if key in ("over", "within", "front") else label,
        [chart.place(*at) for at, _ in rows],
        [_point(key, row, ranks) for _, row in rows],
        chart.line(values, steps=True) if key in ("front", "scaled") else "",
    )


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows by column name."""
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _point(key: str, row: Mapping[str, Any], ranks: Mapping[str, int]) -> dict[str, Any]:
    """Return what the page says of a mark, and what it is filtered by."""
    return {
        "title": f"winner {ranks[row['digest']]}" if key == "winner" else _title(row),
        "text": (
            f"{row['mean_ms']:.3f} ± {row['std_ms']:.3f} ms (bound {row['quantile_ms']:.3f})\n"
            f"score {row['score']:.2f} ± {row['score_std']:.2f} (bound {row['lower_bound']:.2f})\n"
            f"{row['params'] / 1e6:.2f} M parameters, {row['macs'] / 1e6:.0f} M MACs\n"
            + _RUN.sub(r"\2 \1", str(row["blocks"])).replace("|", "\n").replace("+", " + ")
        ),
        "ms": round(float(row["quantile_ms"]), 4),
        **choices(row),
    }


def _title(row: Mapping[str, Any]) -> str:
    if row["origin"] == "published":
        return short_label(str(row["source"]))
    if row["origin"] in ("scaled", "own"):
        return str(row["source"])
    return f"candidate #{int(row['number'])}"


def choices(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a row of a run's table is filtered by: types of blocks, stem, stage count."""
    text = str(row["blocks"])
    stem = ""  # older runs have no column of architectures
    if row.get("architecture"):
        stem = str(json.loads(str(row["architecture"]))["stem"]["type"])
    return {
        "blocks": sorted({type_ for type_, _ in _RUN.findall(text)}),
        "stem": stem,
        "stages": text.count("|") + 1,
    }


def choices_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values that some networks can be filtered by."""
    found = list(rows)
    return {
        "blocks": sorted({block for row in found for block in row["blocks"]}),
        "stem": sorted({row["stem"] for row in found if row["stem"]}),
        "stages": sorted({row["stages"] for row in found}),
    }
