"""`effsearch supernet`: trains one set of weights for a whole space, and evaluates its networks."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from effsearch.cli import JsonFlag, Targets, emit_json, seed_option, show
from effsearch.cli._interrupt import PATIENCE_S, stoppable
from searchspace.errors import UserError

Data = Annotated[
    Path, typer.Option(help="ImageFolder tree (train/CLASS/*, val/CLASS/*) or a zip of one.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]

_PATIENCE_S = 60.0  # a step of large networks on a CPU


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(
        help="Shared weights for a whole space: train them, evaluate networks with them.",
        no_args_is_help=True,
    )
    group.command("train")(train)
    group.command("evaluate")(evaluate)
    app.add_typer(group, name="supernet")


def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the checkpoint supernet.pt.")],
    space: Annotated[str, typer.Option(help="Shipped space or a YAML file.")] = "supernet",
    recipe: Annotated[str, typer.Option(help="Shipped recipe or path to YAML.")] = "supernet",
    epochs: Annotated[int | None, typer.Option(help="Passes over the data.")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="As many epochs as fit into so many minutes here.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Images a step, all GPUs together.")
    ] = None,
    resolution: Annotated[
        str | None, typer.Option(help="Input in px: a square's side, or HEIGHTxWIDTH.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Peak rate of AdamW.")] = None,
    random_networks: Annotated[
        int, typer.Option(help="Random networks a step, beside the largest and the smallest.")
    ] = 2,
    cost_limit: Annotated[
        float | None,
        typer.Option(help="Train no network dearer than about so many million MACs."),
    ] = None,
    uniform: Annotated[
        bool, typer.Option("--uniform", help="Draw block types uniformly, not in turn.")
    ] = False,
    elastic_warmup_epochs: Annotated[
        float,
        typer.Option(help="Epochs that begin with the largest networks, then open depths."),
    ] = 0.0,
    stems_apart: Annotated[
        bool, typer.Option("--stems-apart", help="Stems of different types share nothing.")
    ] = False,
    init: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FILE: start from a published network's official checkpoint."),
    ] = None,
    save_steps: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 200,
    seed: Annotated[int, seed_option("Fixes weights, networks, augmentation.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Continue OUT/supernet.pt.")] = False,
    device: Device = "auto",
    workers: Annotated[int, typer.Option(help="Decoding processes for large trees.")] = 4,
    as_json: JsonFlag = False,
) -> None:
    """Train a supernet; resumes, and runs under torchrun."""
    from effsearch.training import recipe as recipes
    from effsearch.training.memory import keep_memory
    from effsearch.training.supernet.run import (
        CHECKPOINT,
        InterruptedTrainingError,
        SupernetConfig,
    )
    from effsearch.training.supernet.trainer import train as run
    from searchspace import SearchSpace

    _check(save_steps >= 1, f"--save-steps is {save_steps}; it must be 1 or more")
    _check(random_networks >= 0, f"--random-networks is {random_networks}; it must be 0 or more")
    _check(workers >= 0, f"--workers is {workers}; it must be 0 or more")
    _check(minutes is None or minutes > 0, f"--minutes is {minutes}; it must be above 0")
    _check(cost_limit is None or cost_limit > 0, f"--cost-limit is {cost_limit}; it must exceed 0")
    _check(
        elastic_warmup_epochs >= 0,
        f"--elastic-warmup-epochs is {elastic_warmup_epochs}; it must be 0 or more",
    )
    _check(device in ("auto", "cpu", "cuda"), f"device '{device}' is unknown; use auto, cpu, cuda")
    chosen = recipes.load(recipe).replace(
        epochs=epochs, batch_size=batch_size, learning_rate=learning_rate
    )
    chosen = chosen.at_side(resolution)
    keep_memory()
    config = SupernetConfig(
        space=SearchSpace.load(space),
        data=data,
        out=out,
        recipe=chosen,
        seed=seed,
        resume=resume,
        random_networks=random_networks,
        cost_limit=cost_limit,
        fair=not uniform,
        elastic_warmup_epochs=elastic_warmup_epochs,
        stems_apart=stems_apart,
        minutes=minutes,
        save_steps=save_steps,
        init=[_pair(text) for text in init or ()],
        device=device,
        data_workers=workers,
    )

    def going_on() -> str:
        if (out / CHECKPOINT).exists():
            return f"the same command with --resume continues {out / CHECKPOINT}"
        return "no step was done, so the same command begins anew"

    kept, patience_s = "the step under way is finished and saved", _PATIENCE_S
    if os.environ.get("WORLD_SIZE", "1") != "1":  # several processes end at different steps
        kept, patience_s = "the last checkpoint is kept", PATIENCE_S
    with stoppable(going_on, kept, InterruptedTrainingError, patience_s) as stop:
        result = run(config, stop=stop)
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        emit_json({**asdict(result), "checkpoint": str(result.checkpoint), "space": space})
    else:
        show(
            f"{space}: {result.steps} steps, {result.networks} network batches in "
            f"{result.seconds:.0f} s; {result.checkpoint}"
        )


def evaluate(
    targets: Targets,
    checkpoint: Annotated[Path, typer.Option(help="A supernet's checkpoint.")],
    data: Data,
    images: Annotated[int | None, typer.Option(help="Validation images; all by default.")] = None,
    batches: Annotated[
        int, typer.Option(help="Batches of 256 training images that recalibrate batch norms.")
    ] = 4,
    device: Device = "auto",
    as_json: JsonFlag = False,
) -> None:
    """Measure networks with the weights that they inherit."""
    from effsearch.targets import load_architecture
    from effsearch.training.supernet import state as states
    from effsearch.training.supernet.evaluate import InheritedConfig, InheritedScorer

    found = [(text, load_architecture(text)) for text in targets]
    held = states.load(checkpoint)
    inherited = InheritedScorer.of(held, InheritedConfig(data, images, batches, device))
    rows: list[dict[str, Any]] = []
    for text, architecture in found:
        value = inherited.evaluate(architecture)
        rows.append({"target": text, "digest": architecture.digest(), **asdict(value)})
    if as_json:
        emit_json({"evaluations": rows, "steps": held.step, "batches": batches})
        return
    for row in rows:
        show(
            f"{row['target']}: top-1 {row['top1']:.2f} %, top-5 {row['top5']:.2f} %, loss "
            f"{row['loss']:.3f} on {row['images']} images"
        )


def _pair(text: str) -> tuple[str, Path]:
    name, equals, file = text.partition("=")
    _check(bool(equals and name and file), f"--init '{text}' must be written NAME=FILE")
    return name, Path(file)


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)
