"""`effsearch export`: deployable files of a network, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from effsearch.cli import JsonFlag, ResolutionFlag, Target, emit_json, seed_option, show
from effsearch.export.formats import FORMATS


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    target: Target,
    format: Annotated[str, typer.Option("--format", help=f"One of {', '.join(FORMATS)}.")] = "onnx",
    out: Annotated[Path | None, typer.Option("--out", help="File to write.")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Checkpoint: ours, or the official one.")
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option("--classes", help="Classes without weights.  [default: the network's own]"),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            "--labels", help="Text file with a class's name a line.  [default: the checkpoint's]"
        ),
    ] = None,
    features_only: Annotated[
        bool,
        typer.Option("--features-only", help="The stages' maps in place of logits (a backbone)."),
    ] = False,
    out_indices: Annotated[
        str | None,
        typer.Option("--out-indices", help="With --features-only: which stages, from 0: 1,2,3."),
    ] = None,
    resolution: ResolutionFlag = None,
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="float32, float16 or int8.  [default: float16 for coreml, else float32]",
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="With --precision int8: images (train/CLASS/*, val/CLASS/*)."),
    ] = None,
    batch: Annotated[
        str | None,
        typer.Option("--batch", help="Images at a time: a number, or dynamic.  [default: 1]"),
    ] = None,
    opset: Annotated[
        int | None, typer.Option("--opset", help="ONNX's version of operators.  [default: 20]")
    ] = None,
    input: Annotated[
        str | None,
        typer.Option(
            "--input",
            help="image (pixels, normalised inside) or tensor.  [default: image for coreml, else "
            "tensor]",
        ),
    ] = None,
    card: Annotated[
        bool, typer.Option("--card", help="Write a model card beside it, in Markdown and JSON.")
    ] = False,
    seed: Annotated[int, seed_option("Of fresh weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a network's deployed form as ONNX, Core ML or PyTorch, and check it."""
    from effsearch.export.request import ExportRequest

    request = ExportRequest(
        target,
        format,
        out,
        weights,
        num_classes=num_classes,
        labels=labels,
        seed=seed,
        force=force,
        resolution=resolution,
        features=features_only,
        stages=_stages(out_indices),
        precision=precision,
        data=data,
        batch=batch,
        opset=opset,
        input=input,
        card=card,
    )
    request.checked()  # before torch is imported, which takes longer

    from effsearch.export.files import write_export

    exported = write_export(request)
    if card:
        from effsearch.report.export_card import write_export_card

        write_export_card(exported)
    result = dict(exported.facts)
    if as_json:
        emit_json(result)
        return
    trained = "trained weights" if result["trained"] else "fresh, untrained weights"
    show(f"{result['path']}: {format}, {result['precision']}, {trained}; {result['check']}")


def _stages(text: str | None) -> list[int] | None:
    from searchspace import UserError

    try:
        return None if text is None else [int(item) for item in text.split(",")]
    except ValueError:
        raise UserError(f"--out-indices: {text} is not a list of stages such as 1,2,3") from None
