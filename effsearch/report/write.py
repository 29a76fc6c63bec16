"""A run folder's report: picture and page, from the tables, the summary and the cards in it."""

from __future__ import annotations

from pathlib import Path

from effsearch.report.figure import draw_pareto
from effsearch.report.html import write_report
from effsearch.report.run_files import FRONT, read_card, read_summary, read_trials
from searchspace import UserError

PICTURE, PAGE = "pareto.png", "report.html"


def regenerate(folder: Path) -> list[Path]:
    """Write pareto.png and report.html of a finished run again.

    Returns:
        The files written.

    Raises:
        UserError: where the folder is no finished run.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    summary = read_summary(folder)
    trials = read_trials(folder)
    front = read_trials(folder, FRONT)
    cards = [read_card(folder / winner["path"]) for winner in summary["winners"]]
    draw_pareto(trials, front, summary, folder / PICTURE)
    write_report(folder / PAGE, trials, front, summary, cards)
    return [folder / PICTURE, folder / PAGE]
