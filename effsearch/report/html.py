"""`report.html`: the run on one page that needs no network: front, winners, kinds and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from effsearch.files import atomic_write_text
from effsearch.report.elements import kind_mark as _kind
from effsearch.report.elements import plot
from effsearch.report.elements import table as _table
from effsearch.report.figure import (
    CANDIDATE,
    COLOURS,
    FRONT,
    NAMES,
    OVER,
    axis_labels,
    family,
    limits,
    short_label,
    split,
)
from effsearch.report.held_out_error import error_text
from effsearch.report.refined import refined_section

_STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1d2733; max-width: 70rem; margin: 2rem auto;
  padding: 0 1rem; background: #fff; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem .35rem 0; border-bottom: 1px solid #e3e7eb;
  vertical-align: top; }
th { font-weight: 600; color: #52606d; font-size: .85rem; }
td.number { white-space: nowrap; } small, .quiet { color: #52606d; }
.kind { display: inline-block; padding: 0 .45rem; border-radius: .6rem; font-size: .78rem;
  background: #e8eef4; color: #12436d; }
.statement { border-left: 4px solid #12436d; background: #f2f6fa; padding: .6rem .9rem; }
code { background: #f1f3f5; padding: 0 .25rem; } .bar { background: #8fb3d9; height: .7rem; }
"""


def write_report(
    path: Path,
    trials: pd.DataFrame,
    front: pd.DataFrame,
    summary: Mapping[str, Any],
    cards: Sequence[Mapping[str, Any]],
) -> None:
    """Write the report.

    Args:
        path: HTML file to write.
        trials: the table of trials.
        front: the table of the front.
        summary: of the run.
        cards: of the winners, in order.
    """
    device, budget = escape(str(summary["device"])), summary["budget_ms"]
    body = [
        f"<h1>Backbones for {device} within {budget:g} ms</h1>",
        f"<p class='quiet'>{_run_line(summary)}</p>",
        f"<p class='statement'>{escape(str(summary['statement']))}</p>",
        "<h2>Front</h2>",
        _plot(trials, front, summary),
        "<h2>Winners</h2>",
        _winners(summary, cards),
        *(refined_section(summary["refined"]) if "refined" in summary else []),
        "<h2>Published networks, by the same table and score</h2>",
        _published(trials, summary),
        *[_details(winner, card) for winner, card in zip(summary["winners"], cards, strict=True)],
        "<h2>Where the numbers come from</h2>",
        _sources(summary),
    ]
    text = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>effsearch: {device}, {budget:g} ms</title><style>{_STYLE}</style></head><body>"
        + "\n".join(body)
        + "</body></html>\n"
    )
    atomic_write_text(path, text)


def _run_line(summary: Mapping[str, Any]) -> str:
    return escape(
        f"{summary['scored']:,} candidates of the space {summary['space']} priced and scored, "
        f"{summary['failed']:,} failed, {summary['within_budget']:,} within the budget with "
        f"{summary['confidence']:.0%} confidence; seed {summary['seed']}, "
        f"{summary['seconds']:.0f} s."
    )


def _plot(trials: pd.DataFrame, front: pd.DataFrame, summary: Mapping[str, Any]) -> str:
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
    for name, label in NAMES.items():
        rows = published[published["source"].map(family) == name]
        if len(rows):
            figure.add_trace(_scatter(rows, label, COLOURS[name], 10, symbol="diamond"))
    winners = trials[trials["digest"].isin([w["digest"] for w in summary["winners"]])]
    figure.add_trace(_scatter(winners, "winners", "#ffcf33", 15, symbol="star", edge=FRONT))
    figure.add_vline(
        x=summary["budget_ms"], line_dash="dash", annotation_text=f"{summary['budget_ms']:g} ms"
    )
    import math

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
    return plot(figure, "front", with_library=True)


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

    text = [_hover(row) for row in _rows(rows)]
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


def _rows(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in frame.to_dict("records")]


def _hover(row: Mapping[str, Any]) -> str:
    published = row["origin"] == "published"
    label = short_label(row["source"]) if published else row["digest"]
    blocks = str(row["blocks"]).replace("|", "<br>")
    return (
        f"<b>{label}</b><br>{row['mean_ms']:.3f} ± {row['std_ms']:.3f} ms "
        f"(bound {row['quantile_ms']:.3f})"
        f"<br>score {row['score']:.2f} ± {row['score_std']:.2f} (bound {row['lower_bound']:.2f})"
        f"<br>{row['params'] / 1e6:.2f} M parameters, {row['macs'] / 1e6:.0f} M MACs<br>{blocks}"
    )


def _winners(summary: Mapping[str, Any], cards: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for rank, (winner, card) in enumerate(zip(summary["winners"], cards, strict=True), 1):
        cells = [
            f"{rank}",
            f"<a href='{escape(winner['path'])}/card.json'>"
            f"<code>{escape(winner['digest'])}</code></a>"
            f"<br><small>{escape(str(winner['blocks']))}</small>",
            _number(card["latency"]["mean"], 3),
            _number(card["latency"]["quantile"], 3),
            _number(card["score"]["value"], 2),
            f"{winner['params'] / 1e6:.2f} M<br>{_kind('counted')}",
            f"{winner['macs'] / 1e6:.0f} M<br>{_kind('counted')}",
        ]
        if "measured" in card:
            cells.append(_number(card["measured"], 3))
        if any("trained" in each for each in cards):
            cells.append(_number(card["trained"], 2) if "trained" in card else "not trained")
        rows.append(cells)
    heads = [
        "",
        "network",
        "latency",
        f"{summary['confidence']:.0%} bound",
        "score",
        "parameters",
        "MACs",
    ]
    if any("measured" in card for card in cards):
        heads.append("measured here")
    if any("trained" in card for card in cards):
        heads.append(escape(str(summary["refined"]["unit"])))
    return _table(heads, rows) if rows else "<p>None.</p>"


def _details(winner: Mapping[str, Any], card: Mapping[str, Any]) -> str:
    parts = card["latency"]["breakdown"]
    total = sum(part["value"] for part in parts) or 1.0
    rows = [
        [
            escape(part["part"]),
            f"{part['value']:.3f} ms {_kind(part['kind'])}",
            f"<div class='bar' style='width:{max(0.5, 100 * part['value'] / total):.1f}%'></div>",
        ]
        for part in parts
    ]
    parity = card["onnx"]["parity"]
    return (
        f"<h2>Winner <code>{escape(winner['digest'])}</code>: where its time goes</h2>"
        + _table(["part", "latency", ""], rows)
        + f"<p class='quiet'>model.onnx: {escape(card['onnx']['weights'])}. PyTorch and ONNX "
        f"Runtime differ by {parity['value']:.1e} of the logits' spread ({_kind(parity['kind'])}, "
        f"{escape(parity['weights'])} weights).</p>"
    )


def _published(trials: pd.DataFrame, summary: Mapping[str, Any]) -> str:
    _, published = split(trials)
    baseline = (summary["baseline"] or {}).get("name")
    rows = []
    for row in _rows(published.sort_values("quantile_ms")):
        name = escape(short_label(row["source"]))
        mark = " (baseline)" if row["source"] == baseline else ""
        rows.append(
            [
                f"{name}{mark}",
                f"{row['mean_ms']:.3f} ± {row['std_ms']:.3f} ms",
                f"{row['quantile_ms']:.3f} ms",
                f"{row['score']:.2f} ± {row['score_std']:.2f}",
                f"{row['params'] / 1e6:.2f} M",
                f"{row['macs'] / 1e6:.0f} M",
                "yes" if row["feasible"] else "no",
            ]
        )
    heads = [
        "network",
        f"latency ({summary['latency']['kind']})",
        "bound",
        f"score ({summary['score']['kind']})",
        "parameters",
        "MACs",
        "fits",
    ]
    return _table(heads, rows)


def _sources(summary: Mapping[str, Any]) -> str:
    rows = []
    for what in ("latency", "score"):
        facts = summary[what]
        rows.append(
            [
                what,
                escape(str(facts.get("source", ""))),
                _kind(facts["kind"]),
                escape(error_text(facts.get("held_out_error") or {})),
            ]
        )
    note = escape(str(summary["score"].get("note", "")))
    return _table(["number", "source", "kind", "error on networks left out"], rows) + (
        f"<p class='quiet'>{note} An interval is the 80 % one. Parameters and MACs are counted, "
        "without error. Candidates are ranked by the bound of the score that they exceed with 80 % "
        "probability.</p>"
    )


def _number(entry: Mapping[str, Any], digits: int) -> str:
    text = f"{entry['value']:.{digits}f}"
    if entry.get("std"):
        text += f" ± {entry['std']:.{digits}f}"
    unit = entry["unit"] if entry["unit"] == "ms" else ""
    interval = ""
    if entry.get("interval_80") and entry.get("std"):
        low, high = entry["interval_80"]
        interval = f"<br><small>{low:.{digits}f} to {high:.{digits}f}</small>"
    return f"{text} {unit}{interval}<br>{_kind(entry['kind'])}"
