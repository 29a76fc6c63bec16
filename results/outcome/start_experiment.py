"""Trains published networks from several starts, by one recipe and seed.

    python -m results.outcome.start_experiment --data imagenette-144.zip

Every start has a table of its own in the folder given by `--out`; a training that is there is
skipped and a training that was interrupted goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from effsearch.targets import load_architecture
from effsearch.training import recipe as recipes
from effsearch.training.cost import build_network, cost_of
from effsearch.training.memory import keep_memory
from results.accuracy.campaign_table import Table
from results.accuracy.campaign_worker import Task, load_split, set_fast_float32, train_network
from results.outcome.starts import STARTS
from searchspace import Network

HERE = Path(__file__).parent
ZOO = Path(__file__).parents[2] / "searchspace" / "zoo"
# Cheapest first, so that a stopped experiment says something about every start.
PLAN = (
    ("efficientvit_b0", ("shipped", "official", "default_weights", "all_small", "unequal")),
    ("shvit_s1", ("shipped", "official")),
    ("efficientmod_xxs", ("shipped", "official")),
    ("swiftformer_xs", ("shipped", "official")),
    ("efficientvit_b1", ("official", "default_weights")),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m results.outcome.start_experiment")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=HERE / "start_tables")
    parser.add_argument("--recipe", default=str(HERE / "recipes" / "cpu-64.yaml"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--states", type=Path, required=True, help="folder of unfinished trainings")
    parser.add_argument(
        "--plan", nargs="*", metavar="NETWORK:START,START", help="other networks and starts"
    )
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    keep_memory()
    set_fast_float32()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    recipe = recipes.load(options.recipe)
    split = load_split(options.data, recipe.source_side, device)
    plan = [text.split(":") for text in options.plan or ()]
    for name, starts in [(n, s.split(",")) for n, s in plan] or PLAN:
        for start in starts:
            table = Table(options.out / f"{start}.csv")
            path = ZOO / f"{name}.yaml" if (ZOO / f"{name}.yaml").exists() else Path(name)
            network = build_network(
                load_architecture(str(path)), len(split.train.classes), options.seed
            )
            assert isinstance(network, Network)
            cost = cost_of(network, recipe.image_side)
            task = Task(
                path,
                network.architecture.digest(),
                options.seed,
                cost,
                recipe,
                evaluations=recipe.epochs,
            )
            done = table.keys()
            if task.key in done:
                continue
            STARTS[start](network)
            states = options.states / start
            states.mkdir(parents=True, exist_ok=True)
            row = train_network(task, split, device, state_dir=states, network=network)
            table.append(row)
            print(
                f"{name} {start}: {row.curve} in {row.seconds:.0f} s", file=sys.stderr, flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
