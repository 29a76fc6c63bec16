"""Benchmarks of the search; each writes its result, with its command, to results/search.

python -m results.search.benchmark run        # the default run, from pressing enter
python -m results.search.benchmark samplers   # ours beside Optuna's, at equal trials
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from effsearch.run.request import SearchRequest
from effsearch.search.candidates import SAMPLED, Candidate, Record
from effsearch.search.evaluation import Evaluator, EvaluatorSpec
from effsearch.search.executors import usable_cores
from effsearch.search.pareto import front, hypervolume
from effsearch.search.planner import Planner
from searchspace import SearchSpace

FOLDER = Path("results") / "search"
BATCH = 100


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a benchmark, print its result and write it."""
    parser = argparse.ArgumentParser(prog="python -m results.search.benchmark")
    parser.add_argument("what", nargs="?", choices=("run", "samplers"), default="run")
    parser.add_argument("--device", default="iphone12")
    parser.add_argument("--budget-ms", type=float, default=2.0)
    parser.add_argument("--trials", type=int, help="of each sampler")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each sampler")
    parser.add_argument("--limit-s", type=float, default=300.0, help="for each run of a sampler")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    if options.what == "run":
        result = default_run(options.device, options.budget_ms)
    else:
        result = samplers(
            SearchRequest(options.device, options.budget_ms),
            options.trials or 2000,
            options.seeds,
            options.limit_s,
        )
    given = sys.argv[1:] if arguments is None else list(arguments)
    result = {
        "command": " ".join(["python -m results.search.benchmark", *given]),
        "machine": machine(),
        **result,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{options.what}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def machine() -> dict[str, Any]:
    """Return what a timing depends on."""
    return {
        "cores": usable_cores(),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "python": platform.python_version(),
        "optuna": optuna.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }


def default_run(device: str, budget_ms: float) -> dict[str, Any]:
    """Return how long the default run takes, as a person sees it: the process from its start."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        options = ["--budget-ms", f"{budget_ms:g}", "--device", device]
        command = [sys.executable, "-m", "effsearch", "run", *options]
        began = time.perf_counter()
        done = subprocess.run(
            [*command, "--out", str(out), "--json"], stdout=subprocess.PIPE, check=True
        )
        seconds = time.perf_counter() - began
        summary = json.loads(done.stdout)
    return {
        "what": f"effsearch run {' '.join(options)}",
        "seconds_from_enter_to_winners": round(seconds, 1),
        "seconds_of_search": summary["seconds"],
        "priced": summary["priced"],
        "scored": summary["scored"],
        "candidates_per_second_of_search": round(summary["scored"] / summary["seconds"], 1),
        "target": "5000 candidates within 120 s on 2 cores",
        "met": seconds <= 120 and summary["scored"] >= 5000,
    }


Proposer = Callable[[int, list[Record]], list[Candidate]]


def samplers(request: SearchRequest, trials: int, seeds: int, limit_s: float) -> dict[str, Any]:
    """Return what samplers find in equally many trials without the published networks as a start.

    All get the same batches: a sampler sees outcomes after each. Optuna's run on its in-memory
    storage, the fastest it has, with the budget as a constraint.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    import warnings

    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    space = SearchSpace.load(request.space)
    evaluator = EvaluatorSpec(request.device, request.proxy, request.confidence).make()
    rows = []
    for name in ("ours", "random", "nsga2", "tpe"):
        for seed in range(seeds):
            rows.append(_one(name, seed, request, space, evaluator, trials, limit_s))
            print(rows[-1], file=sys.stderr, flush=True)
    return {
        "what": f"{request.space} on {request.device} within {request.budget_ms:g} ms, "
        f"{trials} trials in batches of {BATCH}",
        "columns": {
            "best": "greatest lower bound of the score within the budget",
            "hypervolume": "points x ms of the front, above a score of 60 and below the budget",
            "sampler_ms": "time of the sampler for each candidate",
        },
        "rows": rows,
        "means": _means(rows),
    }


def _one(
    name: str,
    seed: int,
    request: SearchRequest,
    space: SearchSpace,
    evaluator: Evaluator,
    trials: int,
    limit_s: float,
) -> dict[str, Any]:
    propose, tell = _proposer(name, seed, space, trials)
    records: list[Record] = []
    sampling = 0.0
    while len(records) < trials and sampling < limit_s:
        began = time.perf_counter()
        candidates = propose(min(BATCH, trials - len(records)), records)
        sampling += time.perf_counter() - began
        fresh: list[Record] = []
        for candidate in candidates:
            outcome = evaluator.evaluate(candidate.architecture)
            number = len(records) + len(fresh)
            fresh.append(Record(number, 0, candidate, outcome, request.limits.excess(outcome)))
        began = time.perf_counter()
        tell(fresh)
        sampling += time.perf_counter() - began
        records += fresh
    found = front(records)
    scores = [r.outcome.lower_bound for r in found]
    costs = [r.outcome.quantile_ms for r in found]
    return {
        "sampler": name,
        "seed": seed,
        "trials": len(records),
        "distinct": len({r.candidate.digest for r in records}),
        "best": max(scores, default=None),
        "hypervolume": round(hypervolume(scores, costs, 60.0, request.budget_ms), 3),
        "sampler_ms": round(1e3 * sampling / len(records), 2),
    }


def _proposer(
    name: str, seed: int, space: SearchSpace, trials: int
) -> tuple[Proposer, Callable[[list[Record]], None]]:
    if name == "ours":
        planner = Planner(space, seed, trials)

        def plan(count: int, records: list[Record]) -> list[Candidate]:
            rng = np.random.default_rng([seed, len(records)])
            seen = {r.candidate.digest for r in records}
            return planner.evolved(rng, records, seen, count)

        return plan, lambda records: None
    sampler: optuna.samplers.BaseSampler
    if name == "nsga2":
        sampler = optuna.samplers.NSGAIISampler(population_size=BATCH // 2, seed=seed)
    elif name == "tpe":
        sampler = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=True, constant_liar=True
        )
    else:
        sampler = optuna.samplers.RandomSampler(seed=seed)
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    asked: list[optuna.trial.Trial] = []

    def ask(count: int, records: list[Record]) -> list[Candidate]:
        asked[:] = [study.ask() for _ in range(count)]
        return [Candidate(space.suggest(trial), SAMPLED) for trial in asked]

    def tell(records: list[Record]) -> None:
        for trial, record in zip(asked, records, strict=True):
            for limit, excess in record.excess.items():
                trial.set_constraint(limit, excess)
            study.tell(trial, [record.outcome.lower_bound, record.outcome.quantile_ms])

    return ask, tell


def _means(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    means = {}
    for name in dict.fromkeys(row["sampler"] for row in rows):
        mine = [row for row in rows if row["sampler"] == name]
        means[name] = {
            column: round(float(np.mean([row[column] for row in mine])), 3)
            for column in ("trials", "best", "hypervolume", "sampler_ms")
        }
    return means


if __name__ == "__main__":
    main()
