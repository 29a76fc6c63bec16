"""`report.html`: the run on one page that needs no network: front, winners, kinds and errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from effsearch.files import atomic_write_text
from effsearch.report.commands import IMAGES, next_commands
from effsearch.report.front_chart import choices_of, front_chart
from effsearch.report.networks import front_rows, network_rows
from effsearch.report.progress import progress_chart
from effsearch.report.refined_section import refined_section
from effsearch.report.rendering import render
from searchspace.drawing import FAMILY_COLOURS
from searchspace.schema import CLASSIFICATION


def write_report(
    path: Path,
    trials: pd.DataFrame,
    front: pd.DataFrame,
    summary: Mapping[str, Any],
    cards: Sequence[Mapping[str, Any]],
) -> None:
    """Write the report.

    Args:
        path: HTML file to write, in the run folder.
        trials: the table of trials.
        front: the table of the front.
        summary: of the run.
        cards: of the winners, in order.
    """
    devices = summary.get("also") or []
    of_front = front_rows(front)
    text = render(
        "page.html",
        summary=summary,
        run=path.parent,
        score_name=summary["score"]["unit"],
        devices=devices,
        elsewhere=[f"latency on {other['device']}, ms" for other in devices],
        any_measured=any("measured" in card for card in cards),
        any_trained=any("trained" in card for card in cards),
        colours=FAMILY_COLOURS,
        front=front_chart(trials, front, summary),
        front_rows=of_front,
        front_length=len(front),
        choices=choices_of(row["choices"] for row in of_front),
        networks=network_rows(trials, summary, cards),
        progress=progress_chart(summary, trials),
        refined=refined_section(summary["refined"]) if "refined" in summary else "",
        commands=next_commands(path.parent, summary),
        images=IMAGES[summary.get("task", CLASSIFICATION)],
    )
    atomic_write_text(path, text)
