"""What a training of one network is asked for, and what it reached."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from effsearch.training.recipe import Recipe
from effsearch.training.start_from import StartFrom
from searchspace import Architecture


@dataclass(frozen=True)
class TrainConfig:
    """What to train, on what, and where the result goes.

    Attributes:
        architecture: the network.
        data: ImageFolder tree, or a zip archive of one.
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
        digest: the architecture's digest.
        epochs: epochs done, those before a resume included.
        top1: last top-1 on the validation split in %.
        top5: last top-5 in %.
        val_loss: last mean cross-entropy in nats.
        seconds: wall time of this call.
        device: what it ran on.
        curve: (epoch, mean training loss, top-1) of every epoch.
        start: facts of what the weights began with; empty for fresh ones.
    """

    checkpoint: Path
    digest: str
    epochs: int
    top1: float
    top5: float
    val_loss: float
    seconds: float
    device: str
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    start: Mapping[str, Any] = field(default_factory=dict)
