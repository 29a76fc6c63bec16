"""A supernet's training in this process: its parts, its steps and its checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from effsearch.errors import WorkFailedError
from effsearch.files import check_writable
from effsearch.messages import say
from effsearch.training.data.pixels import PixelSource
from effsearch.training.data.reader import ImageReader
from effsearch.training.order import epoch_order
from effsearch.training.processes import Group
from effsearch.training.recipe import Recipe
from effsearch.training.step import rate_schedule, to_channels_last
from effsearch.training.supernet import state as states
from effsearch.training.supernet.sampling import Sampler
from effsearch.training.supernet.state import SupernetCheckpoint
from effsearch.training.supernet.step import SupernetStep
from searchspace import SearchSpace
from searchspace.errors import UserError
from searchspace.resolution import Resolution
from searchspace.supernet import Supernet

CHECKPOINT = "supernet.pt"
_LOG_STEPS = 50


@dataclass(frozen=True)
class SupernetConfig:
    """What to train, on what, and where the result goes.

    Attributes:
        space: the space.
        data: ImageFolder tree, or a zip archive of one.
        out: folder of the checkpoint `supernet.pt`.
        recipe: how to train; its distillation is that of the largest network into the others.
        seed: fixes weights, networks, order and augmentation.
        resume: continue from the checkpoint.
        random_networks: random members a step, beside the largest and the smallest.
        cost_limit: largest cost of a network, about 10^6 multiply-accumulates; None for all.
        fair: whether block types are trained equally often; False draws them uniformly.
        elastic_warmup_epochs: epochs of the warm-up of elastic sizes, see `Sampler`; may be a
            fraction.
        stems_apart: whether networks with stems of different types share nothing.
        minutes: about how long the run may take: replaces the recipe's epochs by as many as a few
            measured steps say. The checkpoint's recipe has them, and with `--epochs` of that number
            another run equals this one.
        save_steps: steps between checkpoints.
        save_state: whether the checkpoint can be resumed; it is four times as large then.
        init: published networks to start from: (name, checkpoint file).
        device: `cpu`, `cuda`, or `auto`.
        data_workers: decoding processes where the images do not fit into memory.
        stop_after: steps after which this call ends, for trainings in parts; None for all.
    """

    space: SearchSpace
    data: Path
    out: Path
    recipe: Recipe
    seed: int = 0
    resume: bool = False
    random_networks: int = 2
    cost_limit: float | None = None
    fair: bool = True
    elastic_warmup_epochs: float = 0.0
    stems_apart: bool = False
    minutes: float | None = None
    save_steps: int = 200
    save_state: bool = True
    init: Sequence[tuple[str, Path]] = ()
    device: str = "auto"
    data_workers: int = 4
    stop_after: int | None = None


def sampling(config: SupernetConfig) -> dict[str, Any]:
    """Return what decides, with seed and space, which networks are trained."""
    return {
        "random_networks": config.random_networks,
        "cost_limit": config.cost_limit,
        "fair": config.fair,
        "elastic_warmup_epochs": config.elastic_warmup_epochs,
        "stems_apart": config.stems_apart,
    }


def check_fresh(config: SupernetConfig) -> None:
    """Check that a new run would overwrite nothing, and that a resumed one has something to resume.

    Raises:
        UserError: where it has not.
    """
    path = config.out / CHECKPOINT
    if path.exists() and not config.resume:
        raise UserError(f"{path} exists: resume it with --resume, or choose another --out")
    if config.resume and not path.exists():
        raise UserError(f"{path} does not exist, so there is nothing to resume")


class InterruptedTrainingError(Exception):
    """The training was asked to stop; its checkpoint has every step."""


class SupernetRun:
    """A supernet's training in this process: what `trainer.train` sets up and runs."""

    def __init__(
        self,
        config: SupernetConfig,
        reader: ImageReader,
        group: Group,
        device: torch.device,
    ) -> None:
        recipe = config.recipe
        self.config, self.recipe, self.group, self.device = config, recipe, group, device
        self.classes = reader.classes
        if recipe.batch_size % group.size:
            raise UserError(
                f"batch size {recipe.batch_size} must divide by the {group.size} processes"
            )
        self.source = PixelSource(reader, recipe.source_side, device, config.data_workers)
        self.batch = min(recipe.batch_size, len(self.source)) // group.size
        if self.batch < 2:
            raise UserError(
                f"{len(self.source)} training images and batch size {recipe.batch_size} leave "
                f"{self.batch} image(s) a step; batch normalisation needs two or more"
            )
        self.epoch_steps = len(self.source) // (self.batch * group.size)
        self.total = self.epoch_steps * recipe.epochs
        torch.manual_seed(config.seed)
        self.supernet = Supernet(config.space, len(self.classes), config.stems_apart)
        self.supernet.track_statistics = False
        self._rates = rate_schedule(recipe, self.epoch_steps, self.total)
        held = self._held()
        if held is None:
            self._seed_weights()
        self.supernet.to(device).train()
        if recipe.channels_last:
            to_channels_last(self.supernet)
        self.sampler = Sampler(
            config.space,
            config.seed,
            config.random_networks,
            config.cost_limit,
            config.fair,
            round(config.elastic_warmup_epochs * self.epoch_steps),
        )
        self.step = SupernetStep(
            self.supernet, recipe, self._rate, device, config.seed, group.rank, group.size
        )
        if held is not None:
            state = held.training
            self.step.load_state_dict(state["step"], held.weights)
            self.sampler.restore(state["dealt"])

    def _seed_weights(self) -> None:
        from effsearch.training.supernet.published_start import seed_from_file

        for name, path in self.config.init:
            line = seed_from_file(self.supernet, name, path)
            if self.group.leads:
                say(line)

    def _rate(self, step: int) -> float:
        return self._rates[min(step, self.total - 1)]

    def progress(self) -> float:
        """Return the part of the run that is done, 0 to 1."""
        return min(1.0, self.step.count / self.total)

    def train(self, log: Callable[[str], None], started: float, stop: Callable[[], bool]) -> float:
        """Train to the end; return the last mean loss of the largest networks.

        Raises:
            InterruptedTrainingError: where `stop` said so.
        """
        step, config = self.step, self.config
        if self.group.leads:
            check_writable(config.out)
        log(
            f"supernet of {config.space.name}: "
            f"{sum(p.numel() for p in self.supernet.parameters()) / 1e6:.1f} M shared parameters "
            f"on {self.device}, {self.epoch_steps} steps an epoch, ready after "
            f"{time.perf_counter() - started:.1f} s"
        )
        mark, since, loss = time.perf_counter(), step.count, math.nan
        step.loss_sum.zero_()
        while not self._done():
            epoch, at = divmod(step.count, self.epoch_steps)
            side = self._side()
            for pictures, labels in self.source.batches(self.order(epoch, at), self.batch):
                step.run(pictures, labels, self.sampler.sandwich(step.count), side)
                side = self._side()
                if step.count % _LOG_STEPS == 0 or self._done():
                    loss = float(step.loss_sum) / (step.count - since)
                    now = time.perf_counter()
                    rate = (step.count - since) / (now - mark)
                    log(
                        f"step {step.count}, {100 * self.progress():.1f} %: loss of the largest "
                        f"{loss:.3f}, {rate:.2f} steps/s, {rate * self.batch:.0f} images/s, "
                        f"{(self.total - step.count) / rate / 60:.1f} min to go"
                    )
                    mark, since = now, step.count
                    step.loss_sum.zero_()
                    if math.isnan(loss):
                        raise WorkFailedError(
                            f"the loss became NaN by step {step.count}; a lower learning rate or "
                            "precision float32 may help"
                        )
                asked = stop()
                if asked or step.count % config.save_steps == 0:
                    self.save()
                if asked:
                    raise InterruptedTrainingError
                if self._done():
                    break
        self.save()
        return loss

    def order(self, epoch: int, at: int) -> Tensor:
        """Return this process's images of an epoch from a step on, (images,)."""
        size, batch = self.group.size, self.batch
        order = epoch_order(len(self.source), self.config.seed, epoch)
        order = order[: self.epoch_steps * size * batch].view(self.epoch_steps, size, batch)
        return order[at:, self.group.rank].flatten()

    def _side(self) -> Resolution:
        recipe = self.recipe
        early = recipe.early_side > 0 and self.progress() < recipe.early_fraction
        return recipe.early_side if early else recipe.image_side

    def _done(self) -> bool:
        stop = self.config.stop_after
        if stop is not None and self.step.count >= stop:
            return True
        return self.progress() >= 1

    def save(self) -> None:
        """Write the checkpoint, in the first process."""
        if not self.group.leads:
            return
        training: dict[str, Any] = {}
        if self.config.save_state:
            training = {
                "step": self.step.state_dict(),
                "dealt": self.sampler.state(),
                "seed": self.config.seed,
                "processes": self.group.size,
                "sampling": sampling(self.config),
            }
        SupernetCheckpoint(
            space=states.space_data(self.config.space),
            classes=self.classes,
            recipe=self.recipe,
            step=self.step.count,
            weights=self.step.weights(),
            training=training,
        ).save(self.config.out / CHECKPOINT)

    def _held(self) -> SupernetCheckpoint | None:
        path = self.config.out / CHECKPOINT
        check_fresh(self.config)
        if not self.config.resume:
            return None
        held = states.load(path)
        states.check_space(held.space, self.config.space, str(path))
        if held.classes != self.classes:
            raise UserError(
                f"{path} was trained on other classes than {self.config.data}; resume with the "
                "same data"
            )
        if held.recipe.digest() != self.recipe.digest():
            raise UserError(
                f"{path} was trained by another recipe ({held.recipe.digest()}) than the given "
                f"one ({self.recipe.digest()}); resume with the same recipe"
            )
        if not held.training:
            raise UserError(f"{path} holds weights only and cannot be resumed")
        for name, value in sampling(self.config).items():
            before = held.training["sampling"].get(name, False)  # as before there was a choice
            if before != value:
                raise UserError(
                    f"{path} was begun with {name} {before}, not {value}; resume with the same"
                )
        if held.training["seed"] != self.config.seed:
            raise UserError(
                f"{path} was begun with seed {held.training['seed']}; resume with the same seed"
            )
        return held
