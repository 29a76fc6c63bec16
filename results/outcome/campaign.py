"""Trains published networks, or any others, by candidate recipes for as long as it is given.

    python -m results.outcome.campaign --data imagenette-144.zip tiny-imagenet-100.zip --minutes 28

What ranks published networks as ImageNet did may judge winners; `results.outcome.judge` says what
does. Every training is a row of `--out` as soon as it ends, with top-1 after each epoch; what is
there is skipped and what was interrupted goes on, so the command can be stopped and repeated. The
most informative trainings come first: all families by the cheapest recipe, then further seeds and
longer recipes (`results.outcome.plan`). On a GPU many networks train side by side, their images
resident there; on a CPU one after the other.
"""

from __future__ import annotations

import argparse
import itertools
import math
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from effsearch.published import published
from effsearch.training import recipe as recipes
from effsearch.training.cost import build_network, cost_of
from effsearch.training.data import pixels
from effsearch.training.data.readers import create_reader, create_readers
from effsearch.training.recipe import Recipe
from results.accuracy.campaign import pick_device
from results.accuracy.campaign_pool import Pool
from results.accuracy.campaign_table import Table
from results.accuracy.campaign_worker import Task, WorkerConfig
from results.accuracy.mps import mps_daemon
from results.outcome.plan import Candidate, remaining, trainings
from searchspace import Architecture, zoo
from searchspace.errors import UserError
from searchspace.resolution import Resolution

HERE = Path(__file__).parent
RECIPES = HERE / "recipes"
MACS_G = (0.1, 0.8)
DEFAULT_RECIPES = {"cuda": ("gpu-12", "gpu-40", "gpu-100"), "cpu": ("cpu-64", "cpu-96")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0 done, 1 trainings failed, 2 a bad request."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m results.outcome.campaign",
        description="Train networks by candidate recipes for as long as there is time.",
    )
    add = parser.add_argument
    add("--data", type=Path, nargs="+", required=True, help="ImageFolder trees or zips of one")
    add("--minutes", type=float, default=math.inf, help="time for all of it; shared by the data")
    add("--out", type=Path, default=HERE / "trainings.csv", help="table that rows are added to")
    add("--recipes", nargs="*", help="names in results/outcome/recipes, shipped names or paths")
    add("--seeds", type=int, nargs="*", default=[0, 1, 2])
    add("--networks", nargs="*", help="zoo names; those of 0.1 to 0.8 GMACs where nothing is named")
    add("--architectures", type=Path, nargs="*", default=[], help="YAML files")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--workers", type=int, help="processes: 14 on a GPU, 1 on a CPU")
    add("--threads", type=int, default=1, help="CPU threads a process")
    add("--no-graphs", action="store_true", help="do not capture CUDA graphs")
    add("--list", action="store_true", help="print the trainings in their order and stop")
    return parser


def _run(options: argparse.Namespace) -> int:
    started = time.time()
    device = pick_device(options.device)
    wanted = [load_recipe(name) for name in options.recipes or DEFAULT_RECIPES[device]]
    table = Table(options.out)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    failures = 0
    with mps_daemon(device == "cuda" and not options.list):
        for place, data in enumerate(options.data):
            # What one data set leaves of its share goes to those after it.
            left = started + 60 * options.minutes - time.time()
            deadline = time.time() + left / (len(options.data) - place)
            tasks = campaign(options, data, wanted)
            todo = remaining(tasks, keys_of(table, data))
            if options.list:
                _list(todo, data)
                continue
            failures += _train(todo, data, table, options, device, deadline)
    return 1 if failures else 0


def campaign(options: argparse.Namespace, data: Path, wanted: Sequence[Recipe]) -> list[Task]:
    """Returns the trainings on one data set, most informative first."""
    classes = len(create_reader(data, "val").classes)
    sides = {recipe.image_side for recipe in wanted}
    names = options.networks or ([] if options.architectures else affordable())
    files = [*options.architectures, *map(zoo_file, names)]
    stems = [path.stem for path in files]
    if twice := {stem for stem in stems if stems.count(stem) > 1}:
        raise UserError(
            f"several files are called {', '.join(sorted(twice))}.yaml, and rows go by that name: "
            "copy each under a name of its own"
        )
    return trainings([candidate(path, classes, sides) for path in files], wanted, options.seeds)


def affordable() -> list[str]:
    """Returns the published networks of 0.1 to 0.8 GMACs at their own resolution."""
    counts = {}
    for name in zoo.names():
        architecture = zoo.load(name)
        with torch.device("meta"):
            network = build_network(architecture, 1000)
        counts[name] = cost_of(network, architecture.resolution).macs / 1e9
    return [name for name, macs in counts.items() if MACS_G[0] <= macs <= MACS_G[1]]


def zoo_file(name: str) -> Path:
    """Returns the YAML of a published network.

    Raises:
        UserError: There is none of that name.
    """
    zoo.load(name)
    return Path(zoo.__file__).parent / f"{name}.yaml"


def candidate(path: Path, classes: int, sides: set[Resolution]) -> Candidate:
    """Returns a network with its costs; its family is the published one or that of its blocks."""
    architecture = Architecture.from_yaml(path)
    with torch.device("meta"):
        network = build_network(architecture, classes)
    record = published().get(path.stem)
    family = record.family if record else "+".join(sorted(blocks_of(architecture)))
    return Candidate(
        path, architecture.digest(), family, {side: cost_of(network, side) for side in sides}
    )


def blocks_of(architecture: Architecture) -> set[str]:
    """Returns the block types of a network."""
    return {block.type for stage in architecture.stages for block in stage.blocks}


def load_recipe(name: str) -> Recipe:
    """Loads a recipe of this folder, a shipped one, or one by its path."""
    own = RECIPES / f"{name}.yaml"
    return recipes.load(str(own) if own.is_file() else name)


def keys_of(table: Table, data: Path) -> set[tuple[str, int, str]]:
    """Returns the keys of a table's rows of one data set."""
    return {row.key for row in table.rows if row.data.split(":")[0] == data.stem}


def _train(
    todo: Sequence[Task],
    data: Path,
    table: Table,
    options: argparse.Namespace,
    device: str,
    deadline: float,
) -> int:
    """Trains what fits until the deadline; returns how many trainings failed."""
    failures = 0
    # A worker holds one decoded copy of the images, so that another side takes new workers.
    for side, group in itertools.groupby(todo, key=lambda task: task.recipe.source_side):
        tasks = list(group)
        if options.no_graphs:
            tasks = [task.retry(capture=False) for task in tasks]
        for tree in create_readers(data):
            pixels.load(tree, side)
        config = WorkerConfig(
            data, side, device, options.threads, deadline, pixels.cache_dir() / "campaign"
        )
        workers = options.workers or (14 if device == "cuda" else 1)
        pool = Pool(tasks, config, workers, table.append)
        pool.run()
        for task, text in pool.failures:
            print(f"failed: {task.path.stem} (seed {task.seed}): {text}", file=sys.stderr)
        failures += len(pool.failures)
    return failures


def _list(tasks: Sequence[Task], data: Path) -> None:
    for task in tasks:
        print(
            f"{data.stem} {task.recipe.name} seed {task.seed} {task.path.stem}: "
            f"{task.cost.macs / 1e6:.0f} MMACs x {task.recipe.epochs} epochs"
        )


if __name__ == "__main__":
    sys.exit(main())
