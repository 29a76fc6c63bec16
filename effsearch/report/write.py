"""A run folder's report: picture and page, from the tables, the summary and the cards in it."""

from __future__ import annotations

from pathlib import Path

from jinja2 import TemplateError

from effsearch.report.figure import draw_pareto
from effsearch.report.html import write_report
from effsearch.report.run_files import FRONT, read_card, read_summary, read_trials
from searchspace import UserError
from searchspace.errors import first_line

PICTURE, PAGE = "pareto.png", "report.html"


def report_again(folder: Path) -> list[Path]:
    """Write a run's report from files that a person may have edited; see `regenerate`.

    Raises:
        UserError: where the folder is no finished run, or its files do not fit together.
    """
    try:
        return regenerate(folder)
    except (
        TypeError,
        ValueError,
        LookupError,
        AttributeError,
        ArithmeticError,
        TemplateError,
    ) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{folder}: no report can be made of its files, which were edited or are of another "
            f"version ({first_line(error)[:100]}); `effsearch run --resume {folder}` writes them "
            "again"
        ) from None


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
