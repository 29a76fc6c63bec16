"""How training changed the order: on the page, and on the console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from effsearch.report.elements import kind_mark, plot, table
from effsearch.report.figure import short_label

_UP, _DOWN, _SAME = "#2e8b57", "#d1495b", "#52606d"
_ROW, _LEFT, _RIGHT, _WIDTH = 28, 250, 470, 720


def refined_section(refined: Mapping[str, Any]) -> list[str]:
    """Return the page's part on a refinement, as HTML."""
    data = refined["data"]
    facts = (
        f"{data['text']}, {data['val_images']} validation images; recipe {refined['recipe']} "
        f"({refined['recipe_digest']}), up to {refined['epochs']} epochs at "
        f"{refined['image_side_px']} px, seed {refined['seed']} for all; "
        f"{', '.join(refined['devices'])}."
    )
    rows = [_cells(row, refined) for row in refined["networks"]]
    heads = ["by training", "by score", "network", "top-1", "epochs", "score", "latency"]
    return [
        "<h2>Trained, and ranked by that</h2>",
        f"<p>{escape(refined['sureness'])}</p>",
        _slopes(refined["networks"]),
        table(heads, rows),
        _curves(refined),
        f"<p class='quiet'>{escape(refined['rule'])} {escape(facts)} Mind that "
        f"{escape(data['note'])}. ± is the standard error from the number of validation images "
        "alone.</p>",
    ]


def refined_lines(refined: Mapping[str, Any]) -> list[str]:
    """Return the same in a few lines of text."""
    lines = [f"{'trained':<9}{'by score':<10}{'top-1':<18}{'epochs':<26}network"]
    for row in refined["networks"]:
        place = "-" if row["rank_by_training"] is None else str(row["rank_by_training"])
        lines.append(
            f"{place:<9}{row['rank_by_score']!s:<10}{_top1(row):<18}"
            f"{epochs_text(row, refined['epochs']):<26}{_name(row)}"
        )
    return [*lines, refined["sureness"]]


def epochs_text(row: Mapping[str, Any], epochs: int) -> str:
    """Return in words how far a training went.

    Args:
        row: of the refinement's networks.
        epochs: of a whole training.
    """
    if row["state"] == "failed":
        return f"failed after {row['epochs']}"
    text = f"{row['epochs']} of {epochs}"
    return text if row["stopped_at"] is None else f"{text}, stopped by ASHA"


def _cells(row: Mapping[str, Any], refined: Mapping[str, Any]) -> list[str]:
    place = row["rank_by_training"]
    reason = f"<br><small>{escape(row['reason'])}</small>" if row["reason"] else ""
    return [
        "" if place is None else str(place),
        str(row["rank_by_score"]),
        _label(row),
        f"{escape(_top1(row))}<br>{kind_mark(refined['kind'])}" if place is not None else "none",
        f"{escape(epochs_text(row, refined['epochs']))}{reason}",
        f"{row['score']:.2f} ± {row['score_std']:.2f}",
        f"{row['mean_ms']:.3f} ms",
    ]


def _label(row: Mapping[str, Any]) -> str:
    if row["baseline"]:
        return f"{escape(_name(row))} (baseline)"
    text = f"<code>{escape(row['digest'])}</code>"
    if row["path"] is None:
        return text
    return f"<a href='{escape(row['path'])}/card.json'>{text}</a>"


def _name(row: Mapping[str, Any]) -> str:
    if row["baseline"]:
        return short_label(row["name"])
    return str(row["digest"]) + ("" if row["path"] is None else f" ({row['path']})")


def _top1(row: Mapping[str, Any]) -> str:
    return "none" if row["top1"] is None else f"{row['top1']:.2f} ± {row['top1_std']:.2f} %"


def _slopes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a picture with a line for each network, from its rank by score to that by training."""
    placed = [row for row in rows if row["rank_by_training"] is not None]
    # Without those that failed, ranks by score have no gaps.
    by_score = sorted(placed, key=lambda row: row["rank_by_score"])
    height = _ROW * (len(placed) + 1)
    parts = [
        f"<text x='{_LEFT - 10}' y='14' text-anchor='end'>by score</text>",
        f"<text x='{_RIGHT + 10}' y='14'>by training</text>",
    ]
    for row in placed:
        before, after = by_score.index(row), row["rank_by_training"] - 1
        colour = _UP if after < before else _DOWN if after > before else _SAME
        y1, y2 = (_ROW * (place + 1) + 4 for place in (before, after))
        name = escape(short_label(row["name"]) if row["baseline"] else row["digest"])
        parts.append(
            f"<line x1='{_LEFT}' y1='{y1}' x2='{_RIGHT}' y2='{y2}' stroke='{colour}' "
            f"stroke-width='2'/><text x='{_LEFT - 10}' y='{y1 + 4}' text-anchor='end'>{name}"
            f"</text><text x='{_RIGHT + 10}' y='{y2 + 4}'>{name}, {escape(_top1(row))}</text>"
        )
    return (
        f"<svg viewBox='0 0 {_WIDTH} {height}' style='max-width:{_WIDTH}px' role='img' "
        "aria-label='rank by score and rank by training' font-size='12'>"
        f"{''.join(parts)}</svg>"
    )


def _curves(refined: Mapping[str, Any]) -> str:
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
    return plot(figure, "curves")
