"""`effsearch score`: accuracy scores with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from effsearch.accuracy.registry import DEFAULT, load_source, names, read_options
from effsearch.accuracy.score import ScoreSource
from effsearch.cli import JsonFlag, emit_json, say
from effsearch.cli._score_flags import ScoreFlags, with_score_flags
from searchspace import Architecture, UserError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score")(score)


@with_score_flags
def score(
    score_flags: ScoreFlags,
    targets: Annotated[list[str], typer.Argument(help="Published networks or architecture YAMLs.")],
    proxy: Annotated[str, typer.Option("--proxy", help=f"{', '.join(names())}.")] = DEFAULT,
    as_json: JsonFlag = False,
) -> None:
    """Score accuracy: by default an estimate of ImageNet-1k top-1, with its uncertainty."""
    from effsearch.published import published
    from effsearch.targets import load_architecture

    found = [(text, load_architecture(text)) for text in targets]
    source = load_source(proxy, read_options(proxy, score_flags))
    check_members(source, found)
    records = published()
    rows: list[dict[str, Any]] = []
    for text, architecture in found:
        value = source.score(architecture)
        row: dict[str, Any] = {
            "target": text,
            "source": source.name,
            "kind": source.kind,
            "unit": source.unit,
            "score": value.score,
            "std": value.std,
            "lower_bound": value.lower_bound,
        }
        if text in records:
            row["published_top1"] = records[text].top1
            row["published_distilled"] = records[text].distilled
        rows.append(row)
    if as_json:
        emit_json({"scores": rows, "note": source.note})
        return
    width = max(len("target"), *(len(row["target"]) for row in rows))
    print(f"{'target':<{width}}  {'score':>14}  {'std':>8}  {'lower bound':>14}  published top-1")
    for row in rows:
        values = [_number(row[name]) for name in ("score", "std", "lower_bound")]
        line = f"{row['target']:<{width}}  {values[0]:>14}  {values[1]:>8}  {values[2]:>14}"
        if "published_top1" in row:
            teacher = " (distilled)" if row["published_distilled"] else ""
            line += f"  {row['published_top1']:.1f}{teacher}"
        print(line)
    say(f"{source.name}, {source.kind}, in {source.unit}. {source.note}")


def check_members(source: ScoreSource, found: Sequence[tuple[str, Architecture]]) -> None:
    """Check that a source can score all targets, before any is scored.

    Raises:
        UserError: names the first that is not in its space.
    """
    for text, architecture in found:
        if source.space is not None and architecture not in source.space:
            raise UserError(f"{text}: not in the space {source.space.name} of the {source.name}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"
