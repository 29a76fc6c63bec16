"""One training, as Ray Tune runs it: epoch by epoch, resumed from its last checkpoint."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from effsearch.training import checkpoint as checkpoints
from effsearch.training.config import Point, TrainConfig
from effsearch.training.devices import device_name
from effsearch.training.recipe import Recipe
from effsearch.training.tasks.registry import TASKS
from effsearch.training.tasks.task import Task
from effsearch.training.trainer import LAST, TrainingError, train
from searchspace import Architecture, UserError

Report = Callable[[dict[str, Any]], None]
_TEXT = 300  # letters of an error's message that are kept


@dataclass(frozen=True)
class TrialSpec:
    """What one training needs; travels to the node that it runs on.

    Attributes:
        digest: of the network.
        architecture: the network, as plain data.
        data: the images' path.
        out: folder of its checkpoints, the same on every node.
        recipe: how to train, as plain data.
        seed: of weights, order and augmentation; the same for all networks.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        reported: epochs that are in the journal already.
    """

    digest: str
    architecture: dict[str, Any]
    data: str
    out: str
    recipe: dict[str, Any]
    seed: int
    device: str
    threads: int
    reported: int = 0

    @property
    def task(self) -> Task:
        """What the network is for."""
        return TASKS[Architecture.from_dict(self.architecture).task]


def run_trial(spec: TrialSpec, report: Report) -> None:
    """Train a network and report each epoch; a failure is reported too, and ends it.

    Epochs that were saved but not reported before an interruption are reported first.

    Args:
        spec: what to train.
        report: takes `digest`, `epoch`, the task's metric, its `std` and `device`, or `digest`,
            `failed` and `final`; may block, and may never return where the training is to end.
    """
    import torch

    torch.set_num_threads(spec.threads)
    out = Path(spec.out)
    device = device_name(torch.device(spec.device))
    key = spec.task.key

    def tell(point: Point) -> None:
        value = {"epoch": point.epoch, key: point.value, "std": point.std}
        report({"digest": spec.digest, **value, "device": device})

    failure: tuple[str, bool] | None = None
    try:
        resume = (out / LAST).exists()
        if resume:
            for point in checkpoints.load(out / LAST).training["curve"]:
                if Point(*point).epoch > spec.reported:
                    tell(Point(*point))
        config = TrainConfig(
            architecture=Architecture.from_dict(spec.architecture),
            data=Path(spec.data),
            out=out,
            recipe=Recipe.from_dict(spec.recipe),
            seed=spec.seed,
            resume=resume,
            device=spec.device,
            data_workers=max(1, spec.threads - 1),
        )
        train(config, _silent, tell)
    except TrainingError as error:
        failure = f"diverged: {error}", True
    except UserError as error:
        failure = str(error), False
    except (torch.OutOfMemoryError, MemoryError) as error:
        failure = f"out of memory: {_first_line(error)}", False
    except Exception as error:  # whatever it is, the other trainings go on
        memory = "memory" in str(error).lower()
        kind = "out of memory" if memory else type(error).__name__
        failure = f"{kind}: {_first_line(error)}", False
    if failure is not None:
        gc.collect()
        report({"digest": spec.digest, "failed": failure[0][:_TEXT], "final": failure[1]})


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no reason given"])[0]


def _silent(line: str) -> None:
    del line
