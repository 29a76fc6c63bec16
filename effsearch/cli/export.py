"""`effsearch export`: deployable files of a network, checked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from effsearch.cli import JsonFlag, ResolutionFlag, Target, emit_json, seed_option, show

FORMATS = ("onnx", "coreml", "torch")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    target: Target,
    format: Annotated[str, typer.Option("--format", help="onnx, coreml or torch.")] = "onnx",
    out: Annotated[Path | None, typer.Option("--out", help="File to write.")] = None,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Checkpoint: ours, or the official one.")
    ] = None,
    num_classes: Annotated[
        int | None,
        typer.Option("--classes", help="Classes without weights.  [default: the network's own]"),
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
            "--precision", help="float32 or float16.  [default: float16 for coreml, else float32]"
        ),
    ] = None,
    seed: Annotated[int, seed_option("Of fresh weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Write a network's deployed form as ONNX, Core ML or PyTorch, and check it."""
    from effsearch.export.files import write_export
    from searchspace import UserError

    if format not in FORMATS:
        raise UserError(f"--format: {format!r} is unknown; use one of {', '.join(FORMATS)}")
    if num_classes is not None and num_classes < 1:
        raise UserError(f"--classes: {num_classes} is not 1 or more")
    if out_indices is not None and not features_only:
        raise UserError("--out-indices: only maps have some; add --features-only")
    result = write_export(
        target,
        format,
        out,
        weights,
        num_classes,
        seed,
        force=force,
        resolution=resolution,
        features=features_only,
        stages=_stages(out_indices),
        precision=precision,
    )
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
