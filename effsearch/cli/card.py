"""`effsearch card`: how well each accuracy score ranks networks that were trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from effsearch.cli import JsonFlag, emit_json, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("card")(card)


def card(
    table: Annotated[Path, typer.Option(help="Trained networks, CSV.")] = Path(
        "results/accuracy/evidence.csv"
    ),
    architectures: Annotated[Path, typer.Option(help="Folder of their YAML files.")] = Path(
        "results/accuracy/architectures"
    ),
    scores: Annotated[Path, typer.Option(help="Their zero-cost scores, CSV.")] = Path(
        "results/accuracy/zero_cost_scores.csv"
    ),
    out: Annotated[Path, typer.Option(help="Folder of the card.")] = Path("results/accuracy"),
    repeats: Annotated[int, typer.Option(min=1, help="Repeats of the cross-validation.")] = 10,
    as_json: JsonFlag = False,
) -> None:
    """Judge every accuracy score on trained networks: proxy_card.md, .json and .png."""
    from effsearch.accuracy.evidence.card import Files, make, write

    files = Files(table=table, architectures=architectures, scores=scores)
    made = make(files, repeats, say)
    made["command"] = "effsearch card" if repeats == 10 else f"effsearch card --repeats {repeats}"
    write(made, out)
    if as_json:
        emit_json(made)
        return
    for key, part in made["agreement"].items():
        best = sorted(part["scores"], key=lambda row: -row["tau"])[:5]
        print(f"{key}: " + ", ".join(f"{row['score']} {row['tau']:.2f}" for row in best))
    print(made["verdict"]["text"])
    say(f"written: {out / 'proxy_card.md'}, proxy_card.json, proxy_card.png")
