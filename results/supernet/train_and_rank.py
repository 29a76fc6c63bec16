"""Trains a supernet and measures what its networks inherit, in one go.

    python -m results.supernet.train_and_rank --space supernet --data TREE --minutes 8 \
        --architectures results/accuracy/architectures --out results/supernet/mobile

Writes into OUT: supernet.pt; inherited.csv, a row for each of the architectures that is in the
space; finetuned.csv, the best of them trained on from the supernet against from scratch, at equal
steps; networks/DIGEST.pt, these as `effsearch train` writes its checkpoints; run.json. What is
there already is not done again, so that the command can be repeated with more to do.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch

from effsearch.training import recipe as recipes
from effsearch.training.checkpoint import Checkpoint
from effsearch.training.devices import device_name
from effsearch.training.memory import keep_memory
from effsearch.training.order import epoch_order, mix_seed
from effsearch.training.recipe import Recipe
from effsearch.training.step import Step, to_channels_last
from effsearch.training.supernet import state as states
from effsearch.training.supernet.evaluate import InheritedConfig, InheritedScorer
from effsearch.training.supernet.run import CHECKPOINT, SupernetConfig
from effsearch.training.supernet.trainer import train
from results.accuracy.campaign import changed_recipe, parse_pairs
from results.accuracy.campaign_worker import Split, load_split, set_fast_float32
from results.accuracy.resident import ResidentLoop
from searchspace import Architecture, Network, SearchSpace, build
from searchspace.errors import UserError

TRAINING = "training.json"
MAX_FILE_BYTES = 15 << 20


@dataclass(frozen=True)
class InheritedRow:
    """Accuracy of one architecture with inherited weights.

    Attributes:
        architecture: name of its file, without the suffix.
        digest: its digest.
        params_m: parameters in millions.
        top1: top-1 on the validation images in %.
        top5: top-5 in %.
        val_loss: mean cross-entropy in nats.
        images: validation images.
        recalibration_batches: batches of 256 training images for the batch norms.
        supernet_steps: steps that the supernet was trained.
    """

    architecture: str
    digest: str
    params_m: float
    top1: float
    top5: float
    val_loss: float
    images: int
    recalibration_batches: int
    supernet_steps: int


@dataclass(frozen=True)
class FinetunedRow:
    """Accuracy of one architecture trained from one start.

    Attributes:
        architecture: name of its file, without the suffix.
        digest: its digest.
        start: `inherited` or `scratch`.
        before: top-1 before training in %.
        epochs: epochs trained.
        steps: steps trained.
        learning_rate: peak rate.
        top1: top-1 afterwards in %.
        val_loss: mean cross-entropy afterwards in nats.
    """

    architecture: str
    digest: str
    start: str
    before: float
    epochs: int
    steps: int
    learning_rate: float
    top1: float
    val_loss: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m results.supernet.train_and_rank",
        description="Train a supernet and measure what its networks inherit.",
    )
    add = parser.add_argument
    add("--space", default="supernet")
    add("--data", type=Path, required=True)
    add("--out", type=Path, required=True)
    add("--architectures", type=Path, required=True, help="folder of architecture YAML files")
    add("--minutes", type=float, help="length of the supernet's training, by its measured speed")
    add("--epochs", type=int, help="its length in epochs, where --minutes is not given")
    add("--threads", type=int, help="CPU threads")
    add("--recipe", default="supernet")
    add("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="recipe fields to change")
    add("--batch-size", type=int)
    add("--random-networks", type=int, default=2)
    add("--cost-limit", type=float, help="about 10^6 multiply-accumulates at the full resolution")
    add("--elastic-warmup-epochs", type=float, default=0.0, help="see `effsearch supernet train`")
    add("--stems-apart", action="store_true", help="stems of different types share nothing")
    add("--uniform", action="store_true", help="draw block types uniformly, not fairly")
    add("--seed", type=int, default=0)
    add("--save-steps", type=int, default=200, help="steps between checkpoints while it trains")
    add("--limit", type=int, help="evaluate only the first N architectures")
    add("--batches", type=int, default=4, help="recalibration batches")
    add("--finetune", type=int, default=5, help="how many of the best are trained on")
    add("--finetune-epochs", type=int, default=6)
    add("--finetune-recipe", default="evidence", help="how these are trained")
    add("--finetune-rate", type=float, default=5e-4, help="peak rate from inherited weights")
    add("--no-graphs", action="store_true", help="do not capture CUDA graphs")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> None:
    """Train, evaluate and fine-tune as the options say."""
    started = time.perf_counter()
    set_fast_float32()
    keep_memory()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    out: Path = options.out
    space = SearchSpace.load(options.space)
    recipe = changed_recipe(recipes.load(options.recipe), parse_pairs(options.set))
    recipe = recipe.replace(batch_size=options.batch_size, epochs=options.epochs)
    found = [
        (path.stem, Architecture.from_yaml(path))
        for path in sorted(options.architectures.glob("*.yaml"))
    ]
    members = [(name, arch) for name, arch in found if arch in space]
    if not members:
        raise UserError(f"{options.architectures} holds no architecture of the space {space.name}")
    _log(f"{len(members)} of {len(found)} architectures are in the space {space.name}")
    report: dict[str, Any] = {"options": {k: str(v) for k, v in vars(options).items()}}
    if not (out / CHECKPOINT).exists():
        train_supernet(options, space, recipe)
    if (out / TRAINING).exists():
        report["training"] = json.loads((out / TRAINING).read_text())
    held = states.load(out / CHECKPOINT)
    states.check_space(held.space, space, str(out / CHECKPOINT))
    config = InheritedConfig(options.data, None, options.batches, options.device)
    inherited = InheritedScorer.of(held, config)
    report["device"] = device_name(inherited.device)
    done = _read(out / "inherited.csv")
    for name, architecture in members[: options.limit]:
        if architecture.digest() in {row["digest"] for row in done}:
            continue
        network = inherited.network(architecture)
        value = inherited.evaluate_network(network)
        row = InheritedRow(
            architecture=name,
            digest=architecture.digest(),
            params_m=sum(p.numel() for p in network.parameters()) / 1e6,
            top1=value.top1,
            top5=value.top5,
            val_loss=value.loss,
            images=value.images,
            recalibration_batches=options.batches,
            supernet_steps=held.step,
        )
        _append(out / "inherited.csv", row)
        done = _read(out / "inherited.csv")
    _log(f"{len(done)} inherited accuracies after {time.perf_counter() - started:.1f} s")
    if options.finetune:
        finetune_best(options, inherited, dict(members), done)
    report["seconds"] = time.perf_counter() - started
    (out / "run.json").write_text(json.dumps(report, indent=1) + "\n")


def train_supernet(options: argparse.Namespace, space: SearchSpace, recipe: Recipe) -> None:
    """Train the supernet, or continue to; keeps its weights in OUT, and what was done."""
    part: Path = options.out / "training"
    result = train(
        SupernetConfig(
            space=space,
            data=options.data,
            out=part,
            recipe=recipe,
            seed=options.seed,
            resume=(part / CHECKPOINT).exists(),
            random_networks=options.random_networks,
            cost_limit=options.cost_limit,
            fair=not options.uniform,
            elastic_warmup_epochs=options.elastic_warmup_epochs,
            stems_apart=options.stems_apart,
            minutes=options.minutes,
            save_steps=options.save_steps,
            device=options.device,
        )
    )
    held = states.load(part / CHECKPOINT)
    done = {**asdict(result), "checkpoint": CHECKPOINT, "recipe": held.recipe.to_dict()}
    (options.out / TRAINING).write_text(json.dumps(done, indent=1) + "\n")
    replace(held, training={}).save(options.out / CHECKPOINT)
    (part / CHECKPOINT).unlink()
    part.rmdir()


def finetune_best(
    options: argparse.Namespace,
    inherited: InheritedScorer,
    members: dict[str, Architecture],
    rows: list[dict[str, str]],
) -> None:
    """Train the best networks on from the supernet, and the same ones from scratch."""
    out: Path = options.out
    recipe = recipes.load(options.finetune_recipe).replace(
        epochs=options.finetune_epochs, warmup_epochs=0.5
    )
    split = load_split(options.data, recipe.source_side, inherited.device)
    best = sorted(rows, key=lambda row: -float(row["top1"]))[: options.finetune]
    done = {(row["digest"], row["start"]) for row in _read(out / "finetuned.csv")}
    for row in best:
        architecture = members[row["architecture"]]
        for start in ("inherited", "scratch"):
            if (row["digest"], start) in done:
                continue
            if start == "inherited":
                network = inherited.network(architecture)
                keep(inherited, architecture, network, out / "networks" / f"{row['digest']}.pt")
                rate = options.finetune_rate
            else:
                torch.manual_seed(options.seed)
                network = build(architecture, len(split.train.classes)).to(inherited.device)
                rate = recipe.learning_rate
            before = inherited.evaluate_network(network).top1
            steps = finetune(
                network.train(),
                recipe.replace(learning_rate=rate),
                split,
                inherited.device,
                options.seed,
                not options.no_graphs,
            )
            after = inherited.evaluate_network(network.eval())
            _append(
                out / "finetuned.csv",
                FinetunedRow(
                    row["architecture"],
                    row["digest"],
                    start,
                    before,
                    recipe.epochs,
                    steps,
                    rate,
                    after.top1,
                    after.loss,
                ),
            )
            if start == "inherited":
                path = out / "networks" / f"{row['digest']}-finetuned.pt"
                keep(inherited, architecture, network, path)
            _log(f"{row['architecture']} from {start}: {before:.2f} to {after.top1:.2f} %")


def finetune(
    network: Network,
    recipe: Recipe,
    split: Split,
    device: torch.device,
    seed: int,
    capture: bool,
) -> int:
    """Train a network by a recipe, to its averaged weights; returns the steps."""
    if recipe.channels_last:
        to_channels_last(network)
    generator = None if device.type == "cuda" else torch.Generator()
    batch = min(recipe.batch_size, len(split.train))
    classes = len(split.train.classes)
    step = Step(network, recipe, classes, len(split.train) // batch, device, generator)
    loop = ResidentLoop(step, split.train, capture=capture)
    for epoch in range(recipe.epochs):
        torch.manual_seed(mix_seed(seed, epoch, 1))
        if generator is not None:
            generator.manual_seed(mix_seed(seed, epoch, 1))
        loop.epoch(epoch_order(len(split.train), seed, epoch), recipe.side_at(epoch))
    if step.average:
        with torch.no_grad():
            tensors = [*network.parameters(), *network.buffers()]
            floats = [tensor for tensor in tensors if tensor.is_floating_point()]
            for own, value in zip(floats, step.average, strict=True):
                own.copy_(value)
    return step.count


def keep(
    inherited: InheritedScorer, architecture: Architecture, network: Network, path: Path
) -> None:
    """Write a network as a checkpoint, in half precision where it would be large.

    The network is rounded too, so that what is measured is what is kept.
    """
    count = sum(tensor.numel() for tensor in network.state_dict().values())
    dtype = torch.float16 if 4 * count > MAX_FILE_BYTES else torch.float32
    state = {}
    with torch.no_grad():
        for key, value in network.state_dict().items():
            if value.is_floating_point():
                value.copy_(value.to(dtype))
                state[key] = value.cpu().contiguous().to(dtype)
            else:
                state[key] = value.cpu()
    Checkpoint(
        architecture=architecture.to_yaml(),
        digest=architecture.digest(),
        state_dict=state,
        classes=inherited.classes,
        recipe=inherited.recipe,
        epoch=0,
        top1=inherited.evaluate_network(network).top1,
        training={},
    ).save(path)


def _append(path: Path, row: InheritedRow | FinetunedRow) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, [f.name for f in fields(row)], lineterminator="\n")
        if fresh:
            writer.writeheader()
        values = asdict(row)
        writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in values.items()})


def _read(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
