"""Training of one network: resumable, on the CPU, one GPU or several through torchrun."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from effsearch.errors import WorkFailedError
from effsearch.files import check_writable, file_sha256
from effsearch.messages import say
from effsearch.progress import Meter
from effsearch.training.checkpoint import Checkpoint, load_network
from effsearch.training.config import Point, TrainConfig, TrainResult
from effsearch.training.cost import build_network
from effsearch.training.log import EpochLog, check_tensorboard
from effsearch.training.order import epoch_order, mix_seed
from effsearch.training.processes import Group, process_group
from effsearch.training.resume import held_checkpoint
from effsearch.training.start_from import start
from effsearch.training.step import Step, teacher_of, to_channels_last
from effsearch.training.tasks.registry import TASKS
from effsearch.training.tasks.task import Split, Task
from searchspace.errors import UserError

LAST = "last.pt"
FINAL = "model.pt"


def train(
    config: TrainConfig,
    log: Callable[[str], None] = say,
    on_epoch: Callable[[Point], None] | None = None,
    meter: Meter | None = None,
) -> TrainResult:
    """Train a network and write its checkpoints.

    On the CPU a resumed training ends with the very weights of an uninterrupted one: everything
    random in an epoch follows from seed, epoch and rank.

    Args:
        config: what to train.
        log: takes progress lines; silent but in the first process.
        on_epoch: called in every process after an epoch is saved, with a point of the curve.
        meter: shows progress within epochs in the first process; None for nothing.

    Raises:
        UserError: the data, the architecture, the teacher, the checkpoint or what to start from
            cannot be used, or TensorBoard is not installed.
    """
    started = time.perf_counter()
    if config.tensorboard:
        check_tensorboard()
    task = TASKS[config.architecture.task]
    train_images, val_images = task.open(config.data)
    with process_group(config.device) as (group, device):
        if not group.leads:
            log, meter = _silent, None
        run = _Run(config, task, train_images, val_images, group, device)
        with meter or Meter(shown=False) as meter:
            result = run.train(log, on_epoch, meter)
    return replace(result, seconds=time.perf_counter() - started)


class _Run:
    def __init__(
        self,
        config: TrainConfig,
        task: Task,
        train_images: Split,
        val_images: Split,
        group: Group,
        device: torch.device,
    ) -> None:
        recipe = config.recipe
        self.config, self.recipe, self.group, self.device = config, recipe, group, device
        self.task, self.classes = task, train_images.reader.classes
        self.architecture = task.fitted(config.architecture, recipe, len(self.classes))
        self.digest = self.architecture.digest()
        if recipe.batch_size % group.size:
            raise UserError(
                f"batch size {recipe.batch_size} must divide by the {group.size} processes"
            )
        # What the request gets wrong is told before images are decoded, which may take long.
        network = build_network(self.architecture, len(self.classes), config.seed)
        self.start = start(config.start, network, self.classes, config.architecture)
        teacher = self._teacher()
        self.teacher_sha256 = None if config.teacher is None else file_sha256(config.teacher)
        self.held = held_checkpoint(
            config.out / LAST,
            config,
            self.digest,
            self.classes,
            self.start.facts,
            self.teacher_sha256,
        )
        side, workers, resident = recipe.source_side, config.data_workers, config.resident
        self.train_source = train_images.source(side, device, workers, resident)
        self.val_source = val_images.source(side, device, workers, resident)
        self.batch = min(recipe.batch_size // group.size, len(self.train_source) // group.size)
        if self.batch < 2:
            raise UserError(
                f"{len(self.train_source)} training images and batch size {recipe.batch_size} "
                f"leave {self.batch} image(s) a step; batch normalisation needs two or more"
            )
        self.steps = len(self.train_source) // (self.batch * group.size)
        network = network.to(device).train()
        if recipe.channels_last:
            to_channels_last(network)
        self.generator = torch.Generator(device)
        self.step = Step(
            network,
            recipe,
            len(self.classes),
            self.steps,
            device,
            self.generator,
            forward=self._wrapped(network),
            teacher=teacher,
            layers=self.start.layers(),
            augment=task.augmenter(recipe, len(self.classes), device, self.generator),
            loss=task.loss(recipe),
        )
        self.curve: list[Point] = []

    def _wrapped(self, network: nn.Module) -> nn.Module:
        if self.group.size == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=ids)

    def _teacher(self) -> nn.Module | None:
        if self.config.teacher is None:
            return None
        if not self.task.distils:
            raise UserError(f"--teacher: there is no distillation for {self.task.name}")
        held = load_network(self.config.teacher)
        if held.classes != self.classes:
            raise UserError(
                f"teacher {self.config.teacher} knows other classes than {self.config.data}; "
                "a teacher must be trained on the same classes"
            )
        teacher = held.build()
        if self.recipe.channels_last:
            to_channels_last(teacher)
        return teacher_of(teacher, self.device)

    def train(
        self,
        log: Callable[[str], None],
        on_epoch: Callable[[Point], None] | None,
        meter: Meter,
    ) -> TrainResult:
        first = self._resume(log)
        if self.group.leads:
            check_writable(self.config.out)
            rows = EpochLog(self.config.out, first, self.config.tensorboard)
        epochs, key = self.recipe.epochs, self.task.key
        meter.start(epochs * self.steps, first * self.steps)
        last = epochs if self.config.stop_after is None else min(epochs, self.config.stop_after)
        result: dict[str, float] = {}
        for epoch in range(first, last):
            begun = time.perf_counter()
            loss = self._epoch(epoch, meter)
            if math.isnan(loss):
                raise TrainingError(
                    f"the loss became NaN in epoch {epoch + 1}; a lower learning rate or "
                    "precision float32 may help"
                )
            with self.step.averaged() as averaged:
                result = self._evaluate(averaged)
                weights = {key: v.cpu().clone() for key, v in averaged.state_dict().items()}
            self.curve.append(Point(epoch + 1, loss, result[key], result.get(f"{key}_std")))
            seconds = time.perf_counter() - begun
            rate = self.steps * self.batch * self.group.size / seconds
            if self.group.leads:
                # The row first: one without a checkpoint is dropped by a resumed training.
                row = {"epoch": epoch + 1, "loss": loss, **result}
                row |= {"learning_rate": self.step.learning_rate}
                rows.add(row | {"seconds": seconds, "images_per_s": rate})
                self._save(epoch + 1, result, weights)
            line = (
                f"epoch {epoch + 1}/{epochs}: loss {loss:.4f}, {self.task.metric} "
                f"{result[key]:.2f} %, {rate:.0f} images/s"
            )
            log(", ".join(filter(None, (line, meter.left((epoch + 1) * self.steps)))))
            if on_epoch:
                on_epoch(self.curve[-1])
        if not result:  # all was done before
            with self.step.averaged() as averaged:
                result = self._evaluate(averaged)
        return TrainResult(
            checkpoint=self.config.out / FINAL,
            digest=self.digest,
            epochs=max(first, last),
            metrics=result,
            seconds=0.0,
            device=str(self.device),
            curve=self.curve,
            start=self.start.facts,
        )

    def _epoch(self, epoch: int, meter: Meter) -> float:
        group, seed = self.group, self.config.seed
        value = mix_seed(seed, epoch, group.rank, 1)
        torch.manual_seed(value)
        self.generator.manual_seed(value)
        count = self.steps * self.batch * group.size
        order = epoch_order(len(self.train_source), seed, epoch)[:count]
        # Consecutive ranks take consecutive batches of one order that all of them know.
        mine = order.view(self.steps, group.size, self.batch)[:, group.rank].flatten()
        side = self.recipe.side_at(epoch)
        self.step.loss_sum.zero_()
        self.start.hold()
        batches = self.train_source.batches(mine, self.batch)
        for at, (pictures, labels) in enumerate(batches, 1):
            self.step.run(pictures, labels, side)
            words = f"epoch {epoch + 1}/{self.recipe.epochs}, step {at}/{self.steps}"
            meter.update(epoch * self.steps + at, words)
        loss = self.step.loss_sum / self.steps
        if group.size > 1:
            dist.all_reduce(loss)
            loss /= group.size
        return float(loss)

    def _evaluate(self, network: nn.Module) -> dict[str, float]:
        order = torch.arange(len(self.val_source))
        batches = self.val_source.batches(order, self.task.evaluation_batch)
        return self.task.evaluate(network, batches, self.recipe, self.device)

    def _save(self, epoch: int, result: dict[str, float], weights: dict[str, Tensor]) -> None:
        final = Checkpoint(
            architecture=self.architecture.to_yaml(),
            digest=self.digest,
            state_dict=weights,
            classes=self.classes,
            recipe=self.recipe,
            epoch=epoch,
            top1=result.get("top1", math.nan),
            training={},
            start=dict(self.start.facts),
            metrics=result,
        )
        final.save(self.config.out / FINAL)
        state = {
            "step": self.step.state_dict(),
            "seed": self.config.seed,
            "processes": self.group.size,
            "teacher": self.teacher_sha256,
            "curve": [tuple(point) for point in self.curve],
        }
        replace(final, training=state).save(self.config.out / LAST)

    def _resume(self, log: Callable[[str], None]) -> int:
        """Go on from the checkpoint, if any; returns the epochs done."""
        held, self.held = self.held, None  # it is as large as the training
        if held is None:
            if self.start.line:
                log(self.start.line)
            return 0
        self.step.load_state_dict(held.training["step"])
        self.curve = [Point(*point) for point in held.training["curve"]]
        log(f"resuming after epoch {held.epoch}, {self.task.metric} {self.curve[-1].value:.2f} %")
        return held.epoch


class TrainingError(WorkFailedError):
    """The training itself failed, though the request was right."""


def _silent(line: str) -> None:
    del line
