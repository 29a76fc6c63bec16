"""`effsearch report`: the picture and the page of a run, again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from effsearch.cli import JsonFlag, emit_json, show


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(report)


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a finished run.")],
    as_json: JsonFlag = False,
) -> None:
    """Write pareto.png and report.html of a finished run again."""
    from effsearch.report.refined import refined_lines
    from effsearch.report.run_files import read_summary
    from effsearch.report.write import regenerate

    paths = regenerate(folder)
    refined = read_summary(folder).get("refined")
    if as_json:
        more = {} if refined is None else {"refined": refined}
        emit_json({"files": [str(path) for path in paths], **more})
        return
    for line in [] if refined is None else refined_lines(refined):
        show(line)
    for path in paths:
        show(path)
