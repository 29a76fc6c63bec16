"""The page's interactive pictures, by Plotly: candidates and front, and the trainings' curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from markupsafe import Markup

from effsearch.report.figure import (
    BY_HAND,
    CANDIDATE,
    FRONT,
    NAMES,
    OVER,
    axis_labels,
    family,
    limits,
    scaled_front,
    short_label,
    split,
)
from effsearch.report.own import OWN, own_rows
from searchspace.drawing import FAMILY_COLOURS


def front_plot(trials: pd.DataFrame, front: pd.DataFrame, summary: Mapping[str, Any]) -> Markup:
    """Return the plane of latency and score, and the library for all plots of the page.

    Args:
        trials: the table of trials.
        front: the table of the front.
        summary: of the run.
    """
    import plotly.graph_objects as go

    candidates, published = split(trials)
    fits = candidates["feasible"] == 1
    figure = go.Figure()
    for rows, colour, text in (
        (candidates[~fits], OVER, "over the limits"),
        (candidates[fits], CANDIDATE, "within the limits"),
    ):
        figure.add_trace(_scatter(rows, f"candidates {text}", colour, 4, opacity=0.6))
    figure.add_trace(_scatter(front, "front", FRONT, 6, mode="lines+markers", shape="hv"))
    by_hand = scaled_front(trials)
    if (by_hand["origin"] == "scaled").any():
        label = "published networks scaled by hand"
        figure.add_trace(_scatter(by_hand, label, BY_HAND, 5, mode="lines+markers", shape="hv"))
    for name, label in NAMES.items():
        rows = published[published["source"].map(family) == name]
        if len(rows):
            figure.add_trace(_scatter(rows, label, FAMILY_COLOURS[name], 10, symbol="diamond"))
    own = own_rows(trials, summary.get("yours", []))
    if len(own):
        figure.add_trace(_scatter(own, "yours", OWN, 12, symbol="triangle-up"))
    winners = trials[trials["digest"].isin([w["digest"] for w in summary["winners"]])]
    figure.add_trace(_scatter(winners, "winners", "#ffcf33", 15, symbol="star", edge=FRONT))
    figure.add_vline(
        x=summary["budget_ms"], line_dash="dash", annotation_text=f"{summary['budget_ms']:g} ms"
    )
    left, right, bottom, top = limits(summary, trials)
    x_label, y_label = axis_labels(summary)
    figure.update_layout(
        template="plotly_white",
        height=560,
        margin={"l": 60, "r": 20, "t": 20, "b": 60},
        hovermode="closest",
        legend={"orientation": "h", "y": 1.08},
    )
    figure.update_xaxes(title=x_label, type="log", range=[math.log10(left), math.log10(right)])
    figure.update_yaxes(title=y_label, range=[bottom, top])
    return _html(figure, "front", with_library=True)


def _scatter(
    rows: pd.DataFrame,
    name: str,
    colour: str,
    size: int,
    mode: str = "markers",
    symbol: str = "circle",
    opacity: float = 1.0,
    shape: str = "linear",
    edge: str = "white",
) -> Any:
    import plotly.graph_objects as go

    text = [_hover(row) for row in rows_of(rows)]
    return go.Scatter(
        x=[round(float(v), 5) for v in rows["quantile_ms"]],
        y=[round(float(v), 4) for v in rows["lower_bound"]],
        name=name,
        mode=mode,
        text=text,
        hoverinfo="text",
        marker={
            "size": size,
            "color": colour,
            "symbol": symbol,
            "opacity": opacity,
            "line": {"width": 0 if size < 6 else 1, "color": edge},
        },
        line={"color": colour, "width": 1.5, "shape": shape},
    )


def rows_of(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows by column name."""
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _hover(row: Mapping[str, Any]) -> str:
    named = {"published": short_label(row["source"])}
    named |= dict.fromkeys(("scaled", "own"), row["source"])
    label = named.get(row["origin"], row["digest"])
    blocks = str(row["blocks"]).replace("|", "<br>")
    return (
        f"<b>{label}</b><br>{row['mean_ms']:.3f} ± {row['std_ms']:.3f} ms "
        f"(bound {row['quantile_ms']:.3f})"
        f"<br>score {row['score']:.2f} ± {row['score_std']:.2f} (bound {row['lower_bound']:.2f})"
        f"<br>{row['params'] / 1e6:.2f} M parameters, {row['macs'] / 1e6:.0f} M MACs<br>{blocks}"
    )


def curves_plot(refined: Mapping[str, Any]) -> Markup:
    """Return top-1 over epochs for each network of a refinement."""
    import plotly.graph_objects as go

    figure = go.Figure()
    for row in refined["networks"]:
        if not row["curve"]:
            continue
        epochs, top1 = zip(*row["curve"], strict=True)
        label = short_label(row["name"]) if row["baseline"] else row["digest"]
        figure.add_trace(
            go.Scatter(
                x=epochs,
                y=[round(value, 3) for value in top1],
                name=label,
                mode="lines+markers",
                line={"dash": "dash" if row["baseline"] else "solid"},
            )
        )
    figure.update_layout(
        template="plotly_white",
        height=360,
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        xaxis_title="epochs",
        yaxis_title=refined["unit"],
    )
    return _html(figure, "curves")


def _html(figure: Any, name: str, with_library: bool = False) -> Markup:
    text = figure.to_html(
        full_html=False,
        include_plotlyjs=with_library,
        div_id=name,
        config={"displaylogo": False, "responsive": True},
    )
    return Markup(text)
