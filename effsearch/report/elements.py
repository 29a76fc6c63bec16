"""What the parts of the page share: tables, plots, and the mark of a number's kind."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any


def kind_mark(kind: str) -> str:
    """Return the mark of a number's kind."""
    return f"<span class='kind'>{escape(kind)}</span>"


def table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; cells are HTML."""
    head = "".join(f"<th>{text}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def plot(figure: Any, name: str, with_library: bool = False) -> str:
    """Return a Plotly figure's HTML; the first plot of a page brings the library."""
    return str(
        figure.to_html(
            full_html=False,
            include_plotlyjs=with_library,
            div_id=name,
            config={"displaylogo": False, "responsive": True},
        )
    )
