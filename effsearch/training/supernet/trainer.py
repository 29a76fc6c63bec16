"""Supernet training: resumable at any step, on the CPU, one GPU or several through torchrun."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from effsearch.messages import say
from effsearch.training.data.readers import create_reader
from effsearch.training.memory import is_out_of_memory
from effsearch.training.processes import process_group
from effsearch.training.supernet.plan import with_epochs
from effsearch.training.supernet.run import CHECKPOINT, SupernetConfig, SupernetRun
from searchspace.errors import UserError
from searchspace.resolution import resolution_text


@dataclass(frozen=True)
class SupernetResult:
    """What a training did.

    Attributes:
        checkpoint: the file.
        steps: steps done, those before a resume included.
        networks: networks trained on a batch, all steps together.
        loss: mean loss of the largest networks since the last progress line.
        seconds: wall time of this call.
        parameters: shared parameters.
        device: what it ran on.
    """

    checkpoint: Path
    steps: int
    networks: int
    loss: float
    seconds: float
    parameters: int
    device: str


def train(
    config: SupernetConfig,
    log: Callable[[str], None] = say,
    stop: Callable[[], bool] = lambda: False,
) -> SupernetResult:
    """Train a supernet and write its checkpoint.

    Args:
        config: what to train.
        log: takes progress lines; silent but in the first process.
        stop: asked after each step whether to end early, where one process trains alone.

    Raises:
        InterruptedTrainingError: where `stop` said so; the checkpoint has every step.
        UserError: where space, data or checkpoint cannot be used, or memory does not suffice.
        WorkFailedError: where the loss became NaN.
    """
    started = time.perf_counter()
    train_images = create_reader(config.data, "train")
    with process_group(config.device) as (group, device):
        tell = log if group.leads else lambda line: None
        try:
            config = with_epochs(config, train_images, group, device, tell)
            run = SupernetRun(config, train_images, group, device)
            loss = run.train(tell, started, stop if group.size == 1 else lambda: False)
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise UserError(out_of_memory(config, device)) from None
    return SupernetResult(
        checkpoint=config.out / CHECKPOINT,
        steps=run.step.count,
        networks=sum(run.sampler.networks(step) for step in range(run.step.count)),
        loss=loss,
        seconds=time.perf_counter() - started,
        parameters=sum(p.numel() for p in run.supernet.parameters()),
        device=str(device),
    )


def out_of_memory(config: SupernetConfig, device: torch.device) -> str:
    """Return what to say where memory ran out: the batch size and what to try."""
    recipe = config.recipe
    return (
        f"out of memory on {device} at batch size {recipe.batch_size} and "
        f"{resolution_text(recipe.image_side)} px; "
        f"try --batch-size {max(2, recipe.batch_size // 2)}, a smaller --resolution, --cost-limit "
        "to leave out the largest networks, or a smaller space"
    )
