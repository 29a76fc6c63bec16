"""`effsearch score`: accuracy scores with their uncertainty."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from effsearch.accuracy.registry import DEFAULT, load_source, names, read_options
from effsearch.cli import JsonFlag, ResolutionFlag, Targets, emit_json, say, show
from effsearch.cli._score_flags import ScoreFlags, with_score_flags
from effsearch.targets import load_target
from searchspace import zoo
from searchspace.schema import SEGMENTATION


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("score")(score)


@with_score_flags
def score(
    score_flags: ScoreFlags,
    targets: Targets,
    proxy: Annotated[str, typer.Option("--proxy", help=f"{', '.join(names())}.")] = DEFAULT,
    resolution: ResolutionFlag = None,
    as_json: JsonFlag = False,
) -> None:
    """Score accuracy: by default an estimate of ImageNet-1k top-1, with its uncertainty."""
    from effsearch.api.questions import check_members, scored
    from effsearch.published import published, published_numbers

    found = [load_target(text).at(resolution) for text in targets]
    source = load_source(proxy, read_options(proxy, score_flags))
    check_members(source, found)
    records, segmenters = published(), zoo.names(task=SEGMENTATION)
    rows: list[dict[str, Any]] = []
    for target in found:
        value = scored(source, target)
        row: dict[str, Any] = {
            "target": target.label,
            "source": source.name,
            "kind": source.kind,
            "unit": source.unit,
            "score": value.score,
            "std": value.std,
            "lower_bound": value.lower_bound,
        }
        if target.architecture is None:
            row["graph_alone"] = True
        if target.label in records:
            row["published_top1"] = records[target.label].top1
            row["published_distilled"] = records[target.label].distilled
        elif target.label in segmenters:
            row |= published_numbers(target.label)
        rows.append(row)
    if as_json:
        emit_json({"scores": rows, "note": source.note})
        return
    width = max(len("target"), *(len(row["target"]) for row in rows))
    show(f"{'target':<{width}}  {'score':>14}  {'std':>8}  {'lower bound':>14}  published")
    for row in rows:
        values = [_number(row[name]) for name in ("score", "std", "lower_bound")]
        line = f"{row['target']:<{width}}  {values[0]:>14}  {values[1]:>8}  {values[2]:>14}"
        if "published_top1" in row:
            teacher = " (distilled)" if row["published_distilled"] else ""
            line += f"  top-1 {row['published_top1']:.1f}{teacher}"
        if "published_miou" in row:
            line += f"  mIoU {row['published_miou']:.1f} on {row['published_dataset']}"
        if "graph_alone" in row:
            line += "  (from its graph alone)"
        show(line)
    say(f"{source.name}, {source.kind}, in {source.unit}. {source.note}")


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.2f}"
