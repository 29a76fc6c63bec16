"""Trains many architectures by one fixed recipe and appends to the evidence table.

    python -m results.accuracy.campaign --architectures DIR --data DIR \
        --out results/accuracy/evidence.csv --minutes 9 --workers 14

Every finished network is a row on the disk at once; networks whose row is there are skipped, so
the command can be stopped and repeated at will. On a GPU many small networks train side by side,
each in its own process with its step captured in a CUDA graph. `--benchmark` measures how fast
that goes and how many epochs fit into a given time.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from effsearch.training import recipe as recipes
from effsearch.training.cost import Cost, build_network, cost_of
from effsearch.training.data import pixels
from effsearch.training.data.readers import create_reader, create_readers
from effsearch.training.memory import keep_memory
from effsearch.training.recipe import Recipe
from results.accuracy.campaign_pool import Pool
from results.accuracy.campaign_table import Row, Table
from results.accuracy.campaign_worker import (
    OutOfTimeError,
    Task,
    WorkerConfig,
    load_split,
    set_fast_float32,
    train_network,
)
from results.accuracy.mps import mps_daemon
from searchspace import Architecture
from searchspace.errors import UserError
from searchspace.resolution import Resolution

# Short epochs, so that even a slow network ends several in a benchmark's seconds.
_BENCHMARK_IMAGES = 4096


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status: 0 done, 1 networks failed, 2 a bad request."""
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m results.accuracy.campaign",
        description="Train many architectures by one recipe; append to the evidence table.",
    )
    add = parser.add_argument
    add("--architectures", type=Path, required=True, help="folder of architecture YAML files")
    add("--data", type=Path, required=True, help="ImageFolder tree or zip archive of one")
    add("--out", type=Path, default=Path("results/accuracy/evidence.csv"))
    add("--minutes", type=float, default=math.inf, help="time limit of this call")
    add(
        "--workers",
        type=int,
        help="processes; 14 on a GPU, one a core on the CPU; 0 uses none beside",
    )
    add("--threads", type=int, help="CPU threads a worker")
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add("--recipe", default="evidence", help="name of a shipped recipe or path to YAML")
    add("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="recipe fields to change")
    add("--epochs", type=int)
    add("--resolution", type=int, help="input side in px; the early side scales with it")
    add("--seeds", type=int, nargs="*", default=[0], help="seeds of every network")
    add("--repeat", type=int, default=0, help="networks, spread over cost, with more seeds")
    add("--repeat-seeds", type=int, nargs="*", default=[1, 2], help="their further seeds")
    add(
        "--fidelity",
        type=int,
        default=0,
        help="networks, spread over cost, trained at 3 times the epochs too, into OUT-fidelity.csv",
    )
    add(
        "--cheapest",
        type=float,
        default=1.0,
        metavar="SHARE",
        help="take the networks of --repeat and --fidelity among this share, by cost",
    )
    add("--limit", type=int, help="only that many networks, spread over cost")
    add("--order", choices=("longest", "shuffled"), default="longest")
    add("--no-mps", action="store_true", help="do not start NVIDIA's Multi-Process Service")
    add("--no-graphs", action="store_true", help="do not capture CUDA graphs")
    add("--list", action="store_true", help="list the tasks and their costs, train nothing")
    add(
        "--benchmark",
        nargs="*",
        metavar="CONFIG",
        help="measure speed only, for each CONFIG such as workers=14,batch_size=256,mps=false",
    )
    add("--benchmark-seconds", type=float, default=25.0, help="time of each CONFIG once started")
    return parser


def _run(options: argparse.Namespace) -> int:
    started = time.time()
    device = pick_device(options.device)
    recipe = _recipe(options)
    tasks = make_tasks(
        options.architectures,
        options.data,
        recipe,
        options.seeds,
        options.repeat,
        options.repeat_seeds,
        options.limit,
        capture=not options.no_graphs,
        cheapest=options.cheapest,
    )
    if options.benchmark is not None:
        return _benchmark(options, tasks, device)
    longer = fidelity_tasks(tasks, options.fidelity, options.cheapest)
    table, long_table = Table(options.out), Table(fidelity_path(options.out))
    tasks = tasks + longer
    if options.list:
        _list(tasks)
        return 0

    def keep(row: Row) -> None:
        (table if row.epochs == recipe.epochs else long_table).append(row)

    done = table.keys() | long_table.keys()
    todo = [task for task in tasks if task.key not in done]
    if options.order == "longest":
        todo.sort(key=lambda task: -task.work)
    else:
        random.Random(0).shuffle(todo)
    _log(
        f"{len(todo)} of {len(tasks)} networks to train on {device}, recipe {recipe.name} "
        f"({recipe.digest()}): {recipe.epochs} epochs, batch {recipe.batch_size}, sides "
        f"{recipe.side_at(0)} to {recipe.image_side} px"
    )
    if not todo:
        return 0
    workers = options.workers if options.workers is not None else _default_workers(device)
    deadline = started + 60 * options.minutes
    config = _config(options, recipe, device, workers, deadline)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if workers == 0:
        failures = _run_here(todo, config, keep)
    else:
        # Decoding here once fills the cache that every worker reads.
        with ThreadPoolExecutor(1) as background:
            decoded = background.submit(_decode, options.data, recipe.source_side)
            with mps_daemon(device == "cuda" and not options.no_mps):
                decoded.result()
                pool = Pool(todo, config, workers, keep)
                pool.run()
        failures = [f"{task.path.stem} (seed {task.seed}): {text}" for task, text in pool.failures]
    done = table.keys() | long_table.keys()
    _log(
        f"{len(table.rows)} rows in {options.out} after {(time.time() - started) / 60:.1f} min; "
        f"{sum(task.key not in done for task in tasks)} networks remain"
    )
    for failure in failures:
        _log(f"failed: {failure}")
    return 1 if failures else 0


def pick_device(wanted: str) -> str:
    """Returns `cuda` or `cpu`; `auto` looks for a GPU without touching it in this process."""
    if wanted != "auto":
        return wanted
    # CUDA must not start here: the workers' MPS daemon has to be there first.
    probe = "import torch; raise SystemExit(0 if torch.cuda.is_available() else 1)"
    try:
        found = subprocess.run(
            [sys.executable, "-c", probe], capture_output=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "cpu"
    return "cuda" if found.returncode == 0 else "cpu"


def make_tasks(
    architectures: Path,
    data: Path,
    recipe: Recipe,
    seeds: Sequence[int] = (0,),
    repeat: int = 0,
    repeat_seeds: Sequence[int] = (1, 2),
    limit: int | None = None,
    capture: bool = True,
    cheapest: float = 1.0,
) -> list[Task]:
    """Lists what is to be trained.

    Args:
        architectures: Folder of architecture YAML files; one a digest is kept.
        data: The image tree, for its number of classes.
        recipe: The recipe of all tasks.
        seeds: Seeds of every network.
        repeat: How many networks, spread evenly over cost, are trained with further seeds.
        repeat_seeds: Those seeds.
        limit: Keeps only that many networks, spread evenly over cost.
        capture: Whether CUDA graphs may be used.
        cheapest: Share of the networks, by cost, among which those `repeat` are.

    Raises:
        UserError: No architectures there, or one of them cannot be read.
    """
    paths = sorted(architectures.glob("*.yaml")) if architectures.is_dir() else []
    if not paths:
        raise UserError(f"{architectures} holds no architecture YAML files (NAME.yaml)")
    classes = len(create_reader(data, "val").classes)
    costs = _costs(architectures, paths, classes, recipe.image_side)
    known: dict[str, tuple[Path, Cost]] = {}
    for path in paths:
        digest, cost = costs[path.name]
        known.setdefault(digest, (path, cost))
    singles = sorted(
        (Task(path, digest, 0, cost, recipe, capture) for digest, (path, cost) in known.items()),
        key=lambda task: (task.work, task.digest),
    )
    if limit is not None:
        singles = _spread(singles, limit)
    further = {task.digest for task in _spread(_cheapest(singles, cheapest), repeat)}
    return [
        Task(task.path, task.digest, seed, task.cost, recipe, capture)
        for task in singles
        for seed in [*seeds, *(repeat_seeds if task.digest in further else [])]
    ]


def fidelity_tasks(tasks: Sequence[Task], count: int, cheapest: float = 1.0) -> list[Task]:
    """Returns `count` of the tasks, spread evenly over cost, with three times the epochs.

    Args:
        tasks: The tasks to choose from.
        count: How many.
        cheapest: Share of them, by cost, among which they are.
    """
    firsts = {task.digest: task for task in reversed(tasks)}
    ordered = sorted(firsts.values(), key=lambda task: (task.work, task.digest))
    chosen = _spread(_cheapest(ordered, cheapest), count)
    recipe = tasks[0].recipe
    longer = recipe.replace(epochs=3 * recipe.epochs)
    return [replace(task, recipe=longer) for task in chosen]


def fidelity_path(table: Path) -> Path:
    """Returns where the rows of three times the epochs go: `NAME-fidelity.csv` beside a table."""
    return table.with_name(f"{table.stem}-fidelity{table.suffix}")


def _cheapest(tasks: list[Task], share: float) -> list[Task]:
    return tasks[: max(1, round(share * len(tasks)))]


def _spread(tasks: list[Task], count: int) -> list[Task]:
    if count >= len(tasks):
        return tasks
    return [tasks[int((index + 0.5) * len(tasks) / count)] for index in range(count)]


def _costs(
    folder: Path, paths: Sequence[Path], classes: int, side: Resolution
) -> dict[str, tuple[str, Cost]]:
    """Counts the networks; `costs.csv` in the folder keeps the counts for the next call."""
    import torch

    store = folder / "costs.csv"
    kept: dict[str, dict[str, str]] = {}
    if store.is_file():
        with store.open(newline="") as file:
            kept = {
                row["file"]: row
                for row in csv.DictReader(file)
                if row["side_px"] == str(side) and row["classes"] == str(classes)
            }
    result: dict[str, tuple[str, Cost]] = {}
    fresh = False
    for path in paths:
        row = kept.get(path.name)
        if row is not None:
            cost = Cost(int(row["params"]), int(row["macs"]), int(row["elements"]))
            result[path.name] = (row["digest"], cost)
            continue
        architecture = Architecture.from_yaml(path)
        with torch.device("meta"):
            network = build_network(architecture, classes)
        result[path.name] = (architecture.digest(), cost_of(network, side))
        fresh = True
    if fresh:
        _write_costs(store, result, classes, side)
    return result


def _write_costs(
    store: Path, costs: dict[str, tuple[str, Cost]], classes: int, side: Resolution
) -> None:
    try:
        with store.open("w", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["file", "digest", "classes", "side_px", "params", "macs", "elements"])
            for name, (digest, cost) in costs.items():
                writer.writerow(
                    [name, digest, classes, side, cost.params, cost.macs, cost.elements]
                )
    except OSError as error:
        _log(f"{store} is not written: {error}")


def _recipe(options: argparse.Namespace) -> Recipe:
    recipe = recipes.load(options.recipe)
    if options.resolution:
        early = round(recipe.early_side * options.resolution / recipe.image_side / 32) * 32
        recipe = recipe.replace(image_side=options.resolution, early_side=early)
    recipe = recipe.replace(epochs=options.epochs)
    return changed_recipe(recipe, parse_pairs(options.set))


def changed_recipe(recipe: Recipe, fields: dict[str, Any]) -> Recipe:
    """Return a recipe with some fields replaced."""
    return Recipe.from_dict({**recipe.to_dict(), **fields})


def parse_pairs(texts: Sequence[str]) -> dict[str, Any]:
    """Return the fields of `FIELD=VALUE` texts."""
    pairs = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"'{text}' must be written FIELD=VALUE")
        pairs[key.strip()] = yaml.safe_load(value)
    return pairs


def _default_workers(device: str) -> int:
    return 14 if device == "cuda" else max(1, os.cpu_count() or 1)


def _config(
    options: argparse.Namespace, recipe: Recipe, device: str, workers: int, deadline: float
) -> WorkerConfig:
    cores = os.cpu_count() or 1
    threads = options.threads or (1 if device == "cuda" else max(1, cores // max(1, workers)))
    # States are for the hours that a CPU takes; a GPU's networks take seconds.
    states = pixels.cache_dir() / "evidence" if device == "cpu" else None
    return WorkerConfig(options.data, recipe.source_side, device, threads, deadline, states)


def _decode(data: Path, side: Resolution) -> None:
    started = time.time()
    for reader in create_readers(data):
        pixels.load(reader, side)
    _log(f"images ready after {time.time() - started:.1f} s")


def _run_here(
    tasks: Sequence[Task], config: WorkerConfig, keep: Callable[[Row], None]
) -> list[str]:
    """Trains in this process, one network after the other."""
    import torch

    torch.set_num_threads(config.threads)
    keep_memory()
    set_fast_float32()
    device = torch.device(config.device)
    split = load_split(config.data, config.source_side, device)
    try:
        for task in tasks:
            row = train_network(task, split, device, config.deadline, config.state_dir)
            keep(row)
            _log(f"{row.architecture} seed {row.seed}: top-1 {row.top1:.2f} %, {row.seconds:.1f} s")
    except OutOfTimeError:
        _log("time is up")
    except KeyboardInterrupt:
        _log("stopped")
    return []


def _list(tasks: Sequence[Task]) -> None:
    for task in sorted(tasks, key=lambda task: -task.work):
        print(
            f"{task.path.stem} {task.digest} seed {task.seed}: {task.cost.params / 1e6:.2f} M "
            f"parameters, {task.cost.macs / 1e6:.1f} MMACs, {task.cost.elements / 1e6:.2f} M values"
        )
    print(f"{len(tasks)} networks")


def _benchmark(options: argparse.Namespace, tasks: Sequence[Task], device: str) -> int:
    """Prints speed and the minutes that all tasks would need, for every configuration."""
    _decode(options.data, tasks[0].recipe.source_side)
    lines = []
    count = len(create_reader(options.data, "train"))
    for text in options.benchmark or [f"workers={options.workers or _default_workers(device)}"]:
        fields = parse_pairs(text.split(","))
        workers = int(fields.pop("workers", options.workers or _default_workers(device)))
        use_mps = bool(fields.pop("mps", not options.no_mps))
        graphs = bool(fields.pop("graphs", not options.no_graphs))
        # Long runs in the benchmark never end, and stay at the last side.
        recipe = changed_recipe(tasks[0].recipe, {"early_side": 0, **fields})
        endless = recipe.replace(epochs=10_000)
        sample = [replace(t, recipe=endless, capture=graphs) for t in tasks]
        random.Random(0).shuffle(sample)
        started = time.time()
        limit = started + options.benchmark_seconds + 60
        with mps_daemon(device == "cuda" and use_mps) as mps_runs:
            config = _config(options, recipe, device, workers, limit)
            config = replace(config, images_max=_BENCHMARK_IMAGES)
            probe = _Probe(sample, config, workers, options.benchmark_seconds)
            probe.run()
        mps = "on" if mps_runs else "off"
        lines.append(f"{text} (MPS {mps}): {probe.summary(tasks, recipe, count)}")
        _log(lines[-1])
    print("\n".join(lines))
    return 0


class _Probe(Pool):
    """A pool that only counts epochs, and stops a while after its workers have started."""

    def __init__(
        self, tasks: Sequence[Task], config: WorkerConfig, workers: int, seconds: float
    ) -> None:
        super().__init__(tasks, config, workers, on_row=lambda row: None)
        self._seconds = seconds
        self._marks: dict[str, list[tuple[int, float]]] = {}

    def _epoch(self, worker: Any, done: int, seconds: float, loss: float) -> None:
        super()._epoch(worker, done, seconds, loss)
        if worker.task is not None:
            self._marks.setdefault(worker.task.path.stem, []).append((done, seconds))

    def _tick(self, now: float) -> None:
        if self.ready_at is not None and now - self.ready_at > self._seconds:
            self.stop = any(len(marks) > 1 for marks in self._marks.values())

    def summary(self, tasks: Sequence[Task], recipe: Recipe, images_count: int) -> str:
        """Describes the speed, and the time that all tasks need at it with all images."""
        elapsed = time.time() - (self.ready_at or time.time())
        # Steady speed: each network's epochs after its first, which holds start and capture.
        rate, starts = 0.0, []
        works = {task.path.stem: task.cost.step_us for task in tasks}
        for name, marks in self._marks.items():
            (first, begin), (last, end) = marks[0], marks[-1]
            if last > first:
                rate += works[name] * (last - first) / (end - begin)
                starts.append(begin - (end - begin) / (last - first))
        if not rate:
            return f"no network ended two epochs in {elapsed:.0f} s"
        part = images_count / (images_count // max(1, images_count // _BENCHMARK_IMAGES))
        epoch_s = part * sum(task.cost.step_us for task in tasks) / rate
        start_s = sum(starts) / len(starts)
        fixed = start_s * len(tasks) / len(self._marks)
        total = (epoch_s * recipe.epochs + fixed) / 60
        return (
            f"{self.epochs_done} epochs in {elapsed:.0f} s, start and capture {start_s:.1f} s a "
            f"network; all {len(tasks)} networks: {epoch_s:.1f} s an epoch, "
            f"{total:.1f} min for {recipe.epochs} epochs of {recipe.image_side} px, "
            f"{len(tasks) / total:.1f} networks/min"
        )


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
