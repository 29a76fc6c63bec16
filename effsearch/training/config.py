"""What a training of one network is asked for, and what it reached."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from effsearch.training.recipe import Recipe
from effsearch.training.start_from import StartFrom
from searchspace import Architecture


class Point(NamedTuple):
    """An epoch of a training.

    Attributes:
        epoch: epochs done with it.
        loss: mean training loss.
        value: the task's metric on the validation split, in %.
        std: its standard error, where that does not follow from value and number of images.
    """

    epoch: int
    loss: float
    value: float
    std: float | None = None


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, and where the result goes.

    Attributes:
        architecture: the network; its head says for which task it is trained.
        data: images as the task takes them (`effsearch.training.tasks`), or a zip archive of them.
        out: folder of the checkpoints `last.pt` (to resume) and `model.pt` (to deploy).
        recipe: how to train.
        seed: fixes weights, order and augmentation.
        resume: continue from `last.pt` where there is one.
        teacher: checkpoint of a network to learn from; its classes must be the data's.
        device: `cpu`, `cuda`, or `auto`.
        data_workers: decoding processes where the images do not fit into memory.
        resident: whether all pixels are kept on the device; None decides by their size.
        stop_after: epochs after which this call ends, for trainings in parts; None for all.
        start: what the weights begin with; None for fresh ones.
        tensorboard: whether TensorBoard's files are written beside `epochs.csv`.
    """

    architecture: Architecture
    data: Path
    out: Path
    recipe: Recipe
    seed: int = 0
    resume: bool = False
    teacher: Path | None = None
    device: str = "auto"
    data_workers: int = 4
    resident: bool | None = None
    stop_after: int | None = None
    start: StartFrom | None = None
    tensorboard: bool = False


@dataclass(frozen=True)
class TrainResult:
    """What a training reached.

    Attributes:
        checkpoint: the file to deploy, `model.pt`.
        digest: the digest of the architecture, with as many classes as the data.
        epochs: epochs done, those before a resume included.
        metrics: last figures on the validation split, the task's metric first (`Task.evaluate`).
        seconds: wall time of this call.
        device: what it ran on.
        curve: a point an epoch.
        start: facts of what the weights began with; empty for fresh ones.
    """

    checkpoint: Path
    digest: str
    epochs: int
    metrics: dict[str, float]
    seconds: float
    device: str
    curve: list[Point] = field(default_factory=list)
    start: Mapping[str, Any] = field(default_factory=dict)

    @property
    def top1(self) -> float:
        """A classifier's top-1 in %; NaN for other tasks."""
        return self.metrics.get("top1", math.nan)
