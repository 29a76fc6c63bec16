"""`effsearch train`: trains one network on images with labels or masks."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from effsearch.cli import JsonFlag, Target, emit_json, seed_option, show
from effsearch.cli._interrupt import stoppable
from effsearch.training import recipe as recipes
from searchspace.errors import UserError
from searchspace.schema import CLASSIFICATION


def register(app: typer.Typer) -> None:
    """Adds the command to the application."""
    app.command("train")(train)


def train(
    target: Target,
    data: Annotated[
        Path,
        typer.Option(
            help="ImageFolder tree (train/CLASS/*, val/CLASS/*), or for segmentation train/images, "
            "train/masks, val/... and classes.txt; or a zip of either."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the checkpoints model.pt and last.pt.")],
    task: Annotated[str, typer.Option(help="classification or segmentation.")] = CLASSIFICATION,
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step, all GPUs together.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="Shipped recipe or path to YAML.  [default: standard, or segment]"),
    ] = None,
    resolution: Annotated[
        str | None, typer.Option(help="Input in px: a square's side, or HEIGHTxWIDTH.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate of AdamW.")] = None,
    seed: Annotated[int, seed_option("Fixes weights, order and augmentation.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue from OUT/last.pt.")] = False,
    init: Annotated[
        str | None,
        typer.Option(
            help="Start from a checkpoint: a file, or 'official' for what `zoo get` fetched."
        ),
    ] = None,
    init_backbone: Annotated[
        Path | None,
        typer.Option(help="Start from a checkpoint's stem and stages, with a fresh head."),
    ] = None,
    freeze_stages: Annotated[
        int, typer.Option(help="With --init: keep the stem and so many stages as they are.")
    ] = 0,
    layer_decay: Annotated[
        float,
        typer.Option(
            help="With --init: what the learning rate is multiplied with from the head to the last "
            "stage, to the stage before, ... to the stem."
        ),
    ] = 1.0,
    teacher: Annotated[
        Path | None, typer.Option(help="Checkpoint of a network to distil from.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[int, typer.Option(help="Decoding processes for large trees.")] = 4,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard's files too.")
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train one network with a modern recipe; resumes, and runs under torchrun."""
    from effsearch.progress import Meter
    from effsearch.targets import load_architecture
    from effsearch.training.config import TrainConfig
    from effsearch.training.start_from import StartFrom
    from effsearch.training.tasks.registry import task_named
    from effsearch.training.trainer import FINAL, LAST
    from effsearch.training.trainer import train as run

    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"device '{device}' is unknown; choose auto, cpu or cuda")
    if workers < 0:
        raise UserError(f"--workers is {workers}; it must be 0 or more")
    if init is not None and init_backbone is not None:
        raise UserError("--init-backbone: --init has a backbone too; give one of the two")
    weights = init if init_backbone is None else str(init_backbone)
    if weights is None and (freeze_stages or layer_decay != 1):
        given = "--freeze-stages" if freeze_stages else "--layer-decay"
        raise UserError(f"{given} is for weights that are there; name some with --init")
    wanted = task_named(task)
    architecture = load_architecture(target)
    wanted.check(target, architecture)
    chosen = recipes.load(recipe or wanted.recipe).replace(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate
    )
    chosen = chosen.at_side(resolution)
    start = None
    if weights is not None:
        start = StartFrom(weights, freeze_stages, layer_decay, backbone=init_backbone is not None)
    config = TrainConfig(
        architecture=architecture,
        data=data,
        out=out,
        recipe=chosen,
        seed=seed,
        resume=resume,
        teacher=teacher,
        device=device,
        data_workers=workers,
        start=start,
        tensorboard=tensorboard,
    )

    def going_on() -> str:
        if (out / LAST).exists():
            return "the same command with --resume goes on after the last whole epoch"
        return "no epoch was done, so the same command begins anew"

    with stoppable(going_on, "whole epochs are kept", (Exception, KeyboardInterrupt)):
        result = run(config, meter=Meter())
    if os.environ.get("RANK", "0") != "0":
        return
    fields = {**asdict(result), "target": target, "checkpoint": str(out / FINAL)}
    fields |= {"task": task, **fields.pop("metrics")}
    if as_json:
        emit_json(fields)
    else:
        reached = f"{wanted.metric} {result.metrics[wanted.key]:.2f} %"
        show(f"{target}: {reached} after {result.epochs} epochs; {out / FINAL}")
