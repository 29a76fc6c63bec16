"""Trains the networks of the evidence table, one after the other, in a process of its own."""

from __future__ import annotations

import gc
import math
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from torch import nn

from effsearch.training.checkpoint import load_tensors, save_tensors
from effsearch.training.cost import Cost, build_network
from effsearch.training.data import pixels
from effsearch.training.data.pixels import Pixels
from effsearch.training.data.readers import create_readers
from effsearch.training.devices import device_name
from effsearch.training.evaluate import Evaluation, evaluate
from effsearch.training.memory import keep_memory
from effsearch.training.order import epoch_order, mix_seed
from effsearch.training.recipe import Recipe
from effsearch.training.step import Step, to_channels_last
from results.accuracy.campaign_table import Row
from results.accuracy.resident import CaptureError, ResidentLoop
from searchspace import Architecture
from searchspace.resolution import Resolution

_EVALUATION_BATCH = 500
_SAVE_EVERY_S = 60.0


@dataclass(frozen=True)
class Task:
    """One network to train.

    Attributes:
        path: Its architecture's YAML.
        digest: The architecture's digest.
        seed: Seed of weights, order and augmentation.
        cost: Its size at the recipe's input side.
        recipe: How to train it.
        capture: Whether its step may be captured in CUDA graphs.
        attempts: Times it failed before.
        evaluations: Times that it is evaluated, spread evenly over the epochs.
    """

    path: Path
    digest: str
    seed: int
    cost: Cost
    recipe: Recipe
    capture: bool = True
    attempts: int = 0
    evaluations: int = 4

    @property
    def key(self) -> tuple[str, int, str]:
        """The key of its row."""
        return self.digest, self.seed, self.recipe.digest()

    @property
    def work(self) -> float:
        """Expected work in µs-images, to compare tasks by."""
        pixels = [self.recipe.pixels_at(epoch) for epoch in range(self.recipe.epochs)]
        return self.cost.step_us * sum(pixels) / pixels[-1]

    def retry(self, capture: bool) -> Task:
        """Returns the task for another attempt."""
        return replace(self, capture=capture and self.capture, attempts=self.attempts + 1)


@dataclass(frozen=True)
class WorkerConfig:
    """What every task of a worker shares.

    Attributes:
        data: The image tree.
        source_side: Side in px that its images are decoded to.
        device: `cpu` or `cuda`.
        threads: CPU threads.
        deadline: Time (as `time.time()`) after which no epoch is begun.
        state_dir: Where states of unfinished trainings are kept; None keeps none.
        images_max: Training images used; None for all. For measuring speed only.
    """

    data: Path
    source_side: Resolution
    device: str
    threads: int
    deadline: float
    state_dir: Path | None
    images_max: int | None = None


class OutOfTimeError(Exception):
    """The deadline passed before the network was trained."""


class StopRequestedError(Exception):
    """The parent process asked to stop."""


@dataclass(frozen=True)
class Split:
    """Training and validation pixels on the device, and what to call them."""

    train: Pixels
    val: Pixels
    name: str


def load_split(
    data: Path, side: Resolution, device: torch.device, images_max: int | None = None
) -> Split:
    """Loads both splits of a tree onto a device, the training split in part where asked.

    Raises:
        UserError: The tree cannot be used.
    """
    train, val = create_readers(data)
    train_pixels = pixels.load(train, side)
    if images_max is not None:
        kept = slice(None, None, max(1, len(train_pixels) // images_max))
        train_pixels = replace(
            train_pixels, images=train_pixels.images[kept], labels=train_pixels.labels[kept]
        )
    train_pixels = train_pixels.to(device)
    val_pixels = pixels.load(val, side).to(device)
    name = f"{data.stem}:{len(train_pixels)}+{len(val_pixels)}"
    return Split(train_pixels, val_pixels, name)


def train_network(
    task: Task,
    split: Split,
    device: torch.device,
    deadline: float = math.inf,
    state_dir: Path | None = None,
    report: Callable[[int, float, float], None] | None = None,
    network: nn.Module | None = None,
) -> Row:
    """Trains one network by its task's recipe and evaluates it.

    Args:
        task: What to train.
        split: The images.
        device: Where to train.
        deadline: Time (as `time.time()`) after which no epoch is begun.
        state_dir: Where the state of an unfinished training is kept; None keeps none.
        report: Called after every epoch with epochs done, seconds and the mean loss.
        network: The module to train; where None, it is built from the task's file and seed.

    Raises:
        OutOfTimeError: The deadline passed; with `state_dir` the next attempt continues.
        CaptureError: The step cannot be captured in a CUDA graph.
    """
    recipe, started = task.recipe, time.perf_counter()
    num_classes = len(split.train.classes)
    if network is None:
        network = build_network(Architecture.from_yaml(task.path), num_classes, task.seed)
    network = network.to(device).train()
    if recipe.channels_last:
        to_channels_last(network)
    generator = None if device.type == "cuda" else torch.Generator()
    batch = min(recipe.batch_size, len(split.train))
    step = Step(network, recipe, num_classes, len(split.train) // batch, device, generator)
    loop = ResidentLoop(step, split.train, capture=task.capture)
    digest, seed, recipe_digest = task.key
    state_path = state_dir and state_dir / f"{digest}-{seed}-{recipe_digest}.pt"
    first, spent, curve, loss = 0, 0.0, [], math.nan
    if state_path and state_path.is_file():
        state = load_tensors(state_path)
        step.load_state_dict(state["step"])
        first, spent, curve, loss = state["epoch"], state["seconds"], state["curve"], state["loss"]
    saved = time.perf_counter()
    parts = task.evaluations
    evaluated = {math.ceil(recipe.epochs * part / parts) for part in range(1, parts + 1)}
    result: Evaluation | None = None
    for epoch in range(first, recipe.epochs):
        if time.time() > deadline:
            raise OutOfTimeError
        _seed_epoch(task.seed, epoch, generator)
        order = epoch_order(len(split.train), task.seed, epoch)
        loss = loop.epoch(order, recipe.side_at(epoch))
        done = epoch + 1
        if done in evaluated or math.isnan(loss):
            with step.averaged() as averaged:
                result = evaluate(averaged, _batches(split.val), recipe, device)
            curve.append(f"{done}:{result.top1:.2f}")
        seconds = spent + time.perf_counter() - started
        if report:
            report(done, seconds, loss)
        if math.isnan(loss):
            break
        if state_path and done < recipe.epochs and time.perf_counter() - saved > _SAVE_EVERY_S:
            saved = time.perf_counter()
            save_tensors(
                {
                    "step": step.state_dict(),
                    "epoch": done,
                    "seconds": seconds,
                    "curve": curve,
                    "loss": loss,
                },
                state_path,
            )
    assert result is not None
    if state_path:
        state_path.unlink(missing_ok=True)
    return Row(
        architecture=task.path.stem,
        digest=digest,
        seed=seed,
        recipe=recipe.name,
        recipe_digest=recipe_digest,
        data=split.name,
        epochs=recipe.epochs,
        side_px=recipe.image_side,
        params_m=task.cost.params / 1e6,
        macs_m=task.cost.macs / 1e6,
        curve=" ".join(curve),
        top1=result.top1,
        top5=result.top5,
        val_loss=result.loss,
        train_loss=loss,
        seconds=spent + time.perf_counter() - started,
        device=device_name(device),
        note="diverged" if math.isnan(loss) else "",
    )


def worker_main(connection: Connection, config: WorkerConfig) -> None:
    """Takes tasks from a connection until it says None or closes.

    Messages back: ("ready", None), ("epoch", (done, seconds, loss)), ("row", Row),
    ("stopped", None), ("capture", text) and ("failed", text). After the last two the process
    ends: its CUDA state can no longer be trusted.
    """
    try:
        torch.set_num_threads(config.threads)
        device = torch.device(config.device)
        set_fast_float32()
        keep_memory()
        split = load_split(config.data, config.source_side, device, config.images_max)
        connection.send(("ready", None))
        while (task := connection.recv()) is not None:
            _serve(connection, task, split, device, config)
            _release(device)
    except (EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        return


def set_fast_float32() -> None:
    """Lets CUDA run float32 products in TF32; the autocast parts are bfloat16 anyway."""
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.benchmark = False


def _serve(
    connection: Connection, task: Task, split: Split, device: torch.device, config: WorkerConfig
) -> None:
    def report(done: int, seconds: float, loss: float) -> None:
        connection.send(("epoch", (done, seconds, loss)))
        # The parent sends nothing while a network trains but the wish to stop.
        if connection.poll() and connection.recv() is None:
            raise StopRequestedError

    try:
        row = train_network(task, split, device, config.deadline, config.state_dir, report)
    except OutOfTimeError:
        connection.send(("stopped", None))
    except StopRequestedError:
        raise EOFError from None
    except CaptureError as error:
        connection.send(("capture", str(error)))
        _leave()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        raise
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"
        connection.send(("failed", " ".join(text.split())[:500]))
        if device.type == "cuda":
            _leave()
    else:
        connection.send(("row", row))


def _leave() -> None:
    sys.stderr.flush()
    # Tearing down a broken CUDA context can hang; the parent starts a fresh process.
    os._exit(3)


def _release(device: torch.device) -> None:
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _seed_epoch(seed: int, epoch: int, generator: torch.Generator | None) -> None:
    value = mix_seed(seed, epoch, 1)
    torch.manual_seed(value)
    if generator is not None:
        generator.manual_seed(value)


def _batches(split: Pixels) -> Any:
    for start in range(0, len(split), _EVALUATION_BATCH):
        stop = start + _EVALUATION_BATCH
        yield split.images[start:stop], split.labels[start:stop]
