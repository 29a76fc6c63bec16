"""How many epochs of supernet training fit into a given time, by a few measured steps."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist

from effsearch.training.data.reader import ImageReader
from effsearch.training.processes import Group
from effsearch.training.supernet import state as states
from effsearch.training.supernet.run import (
    CHECKPOINT,
    SupernetConfig,
    SupernetRun,
    check_fresh,
)
from searchspace.resolution import Resolution, resolution_text

_WARM_STEPS = 3  # build modules and fill caches
_STEPS = 14  # sandwiches differ in cost: their mean is within some 10 %


def with_epochs(
    config: SupernetConfig,
    reader: ImageReader,
    group: Group,
    device: torch.device,
    log: Callable[[str], None],
) -> SupernetConfig:
    """Return a config whose recipe has the epochs that fit into its minutes, where it has some."""
    if config.minutes is None:
        return config
    path = config.out / CHECKPOINT
    if config.resume and path.exists():
        epochs = states.load(path).recipe.epochs  # as decided when it was begun
    else:
        check_fresh(config)
        trial = replace(config, init=(), resume=False, minutes=None)
        epochs = fit_epochs(SupernetRun(trial, reader, group, device), config.minutes, log)
    return replace(config, recipe=config.recipe.replace(epochs=epochs), minutes=None)


def fit_epochs(run: SupernetRun, minutes: float, log: Callable[[str], None]) -> int:
    """Return how many epochs a run's recipe can have so that it ends within some minutes.

    Args:
        run: a run that is thrown away afterwards: its weights are changed.
        minutes: length of the training.
        log: told of the speed.
    """
    recipe = run.recipe
    shares: dict[Resolution, float] = {recipe.image_side: 1.0}
    if recipe.early_side > 0:
        shares = {recipe.early_side: recipe.early_fraction}
        shares[recipe.image_side] = shares.get(recipe.image_side, 0.0) + 1 - recipe.early_fraction
    seconds = {side: _step_seconds(run, side) for side, share in shares.items() if share > 0}
    mean = sum(shares[side] * value for side, value in seconds.items())
    steps = 60 * minutes / mean
    epochs = max(1, int(steps / run.epoch_steps))
    if run.group.size > 1:
        agreed = torch.tensor(epochs, device=run.device)
        dist.broadcast(agreed, 0)
        epochs = int(agreed)
    speeds = ", ".join(
        f"{value:.3f} s a step at {resolution_text(side)} px" for side, value in seconds.items()
    )
    log(
        f"{speeds}: {epochs} epochs of {run.epoch_steps} steps, about "
        f"{epochs * run.epoch_steps * mean / 60:.1f} of {minutes:g} min"
    )
    return epochs


def _step_seconds(run: SupernetRun, side: Resolution) -> float:
    begun = time.perf_counter()
    count = 0
    while count < _WARM_STEPS + _STEPS:
        for pictures, labels in run.source.batches(run.order(0, 0), run.batch):
            if count == _WARM_STEPS:
                _wait(run.device)
                begun = time.perf_counter()
            # Late steps: those of a warm-up take fewer networks.
            run.step.run(pictures, labels, run.sampler.sandwich(run.total + count), side)
            count += 1
            if count == _WARM_STEPS + _STEPS:
                break
    _wait(run.device)
    return (time.perf_counter() - begun) / _STEPS


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
