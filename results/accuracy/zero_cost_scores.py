"""Computes every zero-cost score of the trained networks, on real images at their input side.

    python -m results.accuracy.zero_cost_scores --data DIR

So it does of the published networks and of the planted degenerates. One row a network in
results/accuracy/zero_cost_scores.csv; rows that are there are kept.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from effsearch.accuracy import zero_cost
from effsearch.training.data import pixels
from effsearch.training.data.augment import MEAN, STD
from effsearch.training.data.readers import create_readers
from results.accuracy import degenerates
from results.accuracy.trained_networks import ARCHITECTURES, SCORES
from searchspace import Architecture, build, zoo
from searchspace.errors import UserError

IMAGES = 32
COLUMNS = ("digest", "set", "name", *zero_cost.NAMES, "seconds")


def batch_of(
    data: Path, count: int, side: int, seed: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Return normalised training images (count, 3, side, side), labels (count,), and classes.

    Raises:
        UserError: The images cannot be used.
    """
    train, _ = create_readers(data)
    loaded = pixels.load(train, 64)
    rows = torch.from_numpy(np.random.default_rng(seed).permutation(len(loaded))[:count].copy())
    batch = loaded.images[rows].float() / 255
    batch = (batch - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    batch = torch.nn.functional.interpolate(batch, size=(side, side), mode="bilinear")
    return batch, loaded.labels[rows].long(), len(loaded.classes)


def networks(folder: Path) -> list[tuple[str, str, Architecture]]:
    """Return set, name and architecture of all networks that are scored."""
    paths = sorted(folder.glob("*.yaml"))
    found = [("trained", path.stem, Architecture.from_yaml(path)) for path in paths]
    found += [("published", name, zoo.load(name)) for name in zoo.names()]
    planted = (d.architecture for d in degenerates.load())
    return found + [("degenerate", a.name, a) for a in planted]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m results.accuracy.zero_cost_scores")
    parser.add_argument("--architectures", type=Path, default=ARCHITECTURES)
    parser.add_argument("--data", type=Path, required=True, help="ImageFolder tree or zip archive")
    parser.add_argument("--side", type=int, default=96, help="input side in px")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=SCORES)
    options = parser.parse_args(arguments)
    try:
        batch, labels, classes = batch_of(options.data, IMAGES, options.side, options.seed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    wanted = networks(options.architectures)
    done = set()
    if options.out.exists():
        with options.out.open(newline="") as file:
            done = {(row["set"], row["name"]) for row in csv.DictReader(file)}
    wanted = [row for row in wanted if row[:2] not in done]
    with options.out.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if not done:
            writer.writerow(COLUMNS)
        for number, (group, name, architecture) in enumerate(wanted):
            started = time.perf_counter()
            torch.manual_seed(options.seed)
            network = build(architecture, num_classes=classes)
            found = zero_cost.scores(network, batch, labels, seed=options.seed)
            values = [f"{found[score]:.6g}" for score in zero_cost.NAMES]
            seconds = f"{time.perf_counter() - started:.3f}"
            writer.writerow([architecture.digest(), group, name, *values, seconds])
            file.flush()
            print(f"{number + 1} of {len(wanted)}", end="\r", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
