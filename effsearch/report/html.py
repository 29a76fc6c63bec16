"""`report.html`: the run on one page that needs no network: front, winners, kinds and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from effsearch.files import atomic_write_text
from effsearch.report.figure import split
from effsearch.report.own import own_words
from effsearch.report.plots import front_plot, rows_of
from effsearch.report.refined_section import refined_section
from effsearch.report.rendering import render


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
    _, published = split(trials)
    text = render(
        "page.html",
        summary=summary,
        winners=list(zip(summary["winners"], cards, strict=True)),
        any_measured=any("measured" in card for card in cards),
        any_trained=any("trained" in card for card in cards),
        front=front_plot(trials, front, summary),
        refined=refined_section(summary["refined"]) if "refined" in summary else "",
        published=rows_of(published.sort_values("quantile_ms")),
        otherwise=_otherwise(summary),
    )
    atomic_write_text(path, text)


def _otherwise(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Return what there is beside the winners, each with what it is."""
    rows = [
        ("the best published network", summary["baseline"]),
        ("the best that scaling one by hand gives", summary.get("baseline_scaled")),
        *(
            (f"the best of {family} alone", row)
            for family, row in summary.get("families", {}).items()
        ),
    ]
    own = [row for row in summary.get("yours", []) if "error" not in row]
    return [
        *((what, row) for what, row in rows if row is not None),
        *((own_words(row), row) for row in own),
    ]
