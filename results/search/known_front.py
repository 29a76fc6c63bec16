"""How fast samplers find a front that is known: every network of a space priced and scored.

    python -m results.search.known_front --out results/search

A slice of `mobile` (known_front.yaml) is enumerated; its exact front within a budget is the truth.
Every sampler gets the same published networks to begin with and the same free latency: what is over
the budget, or was scored before, is told to the sampler and costs nothing. What counts is scored
networks, as where a score is a training. Writes known_front.{json,md,png}.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from effsearch.search.evaluation import Evaluator, EvaluatorSpec
from effsearch.search.parameters import enumerate_space, to_params
from effsearch.search.pareto import hypervolume, non_dominated
from effsearch.search.planner import published
from effsearch.search.sampler import SpaceSampler
from results.search.evolution import Proposals, evolution
from results.search.known_front_report import GOAL, SHARE, write
from searchspace import Architecture, SearchSpace

FOLDER = Path("results") / "search"
SPACE = FOLDER / "known_front.yaml"
DEVICE = "iphone12"
WITHIN = 0.5  # share of the space that the budget lets through
POINTS = 50  # of a curve
ASKS = 30  # proposals for each scored network, before a sampler is given up


class Truth:
    """All members of a space with their latency and score.

    Attributes:
        space: the space.
        budget_ms: the limit on latency.
        scores: lower bounds (n,).
        costs: latencies in ms (n,), at the evaluator's confidence.
        floor: least score of all.
        exact: hypervolume of the exact front, above `floor` and within the budget.
    """

    def __init__(self, space: SearchSpace, evaluator: Evaluator) -> None:
        self.space = space
        members = list(enumerate_space(space))
        self._index = {member.digest(): i for i, member in enumerate(members)}
        outcomes = evaluator(members)
        self.scores = np.array([o.lower_bound for o in outcomes])
        self.costs = np.array([o.quantile_ms for o in outcomes])
        self.budget_ms = float(np.quantile(self.costs, WITHIN))
        self.floor = float(self.scores.min())
        self.exact = self.hypervolume(np.flatnonzero(self.costs <= self.budget_ms))

    def index(self, architecture: Architecture) -> int:
        """Return a member's place in the arrays."""
        return self._index[architecture.digest()]

    def hypervolume(self, rows: Any) -> float:
        """Return the hypervolume of some members."""
        return hypervolume(self.scores[rows], self.costs[rows], self.floor, self.budget_ms)


def of_optuna(
    sampler: optuna.samplers.BaseSampler, space: SearchSpace, known: Sequence[Architecture]
) -> Proposals:
    """Yield what a sampler of Optuna asks for; takes score, latency and excess of each."""
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
    for architecture in known:
        study.enqueue_trial(to_params(space, architecture)[0])
    while True:
        trial = study.ask()
        score, cost, excess = yield space.suggest(trial)
        trial.set_constraint("latency", excess)
        study.tell(trial, [score, cost])


def samplers(truth: Truth, known: Sequence[Architecture]) -> dict[str, Callable[[int], Proposals]]:
    """Return, by name, what starts a sampler with a seed."""
    made: dict[str, Callable[[int], optuna.samplers.BaseSampler]] = {
        "ours": lambda seed: SpaceSampler(
            truth.space, table=DEVICE, budget_ms=truth.budget_ms, seed=seed
        ),
        "random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
        "NSGA-II": lambda seed: optuna.samplers.NSGAIISampler(seed=seed),
        "NSGA-III": lambda seed: optuna.samplers.NSGAIIISampler(seed=seed),
        "TPE": lambda seed: optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True),
        "GP": lambda seed: optuna.samplers.GPSampler(seed=seed, deterministic_objective=True),
    }

    def starter(make: Callable[[int], optuna.samplers.BaseSampler]) -> Callable[[int], Proposals]:
        return lambda seed: of_optuna(make(seed), truth.space, known)

    found = {name: starter(make) for name, make in made.items()}
    found["evolution"] = lambda seed: evolution(truth.space, known, seed)
    return found


def trace(proposals: Proposals, truth: Truth, scored: int, limit_s: float) -> dict[str, Any]:
    """Let a sampler search, and return what it had found after how many scored networks.

    Args:
        proposals: of the sampler.
        truth: what it searches.
        scored: networks that it may score.
        limit_s: time that it may take.
    """
    seen: list[int] = []
    known: set[int] = set()
    curve: list[tuple[int, float, float]] = []
    marks = {round(scored * (i + 1) / POINTS) for i in range(POINTS)}
    began, asked, reached = time.perf_counter(), 1, None
    architecture = next(proposals)
    while len(seen) < scored and asked < ASKS * scored:
        row = truth.index(architecture)
        excess = float(truth.costs[row] / truth.budget_ms - 1)
        fits = excess <= 0
        if fits and row not in known:
            known.add(row)
            seen.append(row)
            if reached is None and len(seen) % 10 == 0:
                share = truth.hypervolume(seen) / truth.exact
                reached = len(seen) if share >= GOAL else None
            if len(seen) in marks:
                share = truth.hypervolume(seen) / truth.exact
                curve.append((len(seen), share, float(truth.scores[seen].max())))
        if time.perf_counter() - began > limit_s:
            break
        score = float(truth.scores[row]) if fits else truth.floor
        architecture = proposals.send((score, float(truth.costs[row]), excess))
        asked += 1
    return {
        "scored": len(seen),
        "asked": asked,
        "ms_each": round(1e3 * (time.perf_counter() - began) / asked, 2),
        "scored_to_goal": reached,
        "hypervolume_share": round(truth.hypervolume(seen) / truth.exact, 5),
        "best": float(truth.scores[seen].max()),
        "curve": [(n, round(share, 5), round(best, 4)) for n, share, best in curve],
    }


def compare(
    truth: Truth,
    share: float,
    seeds: int,
    slow_seeds: int,
    limit_s: float,
    names: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return the traces of all samplers, or of some, with a share of the space scored."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
    warnings.filterwarnings("ignore", category=UserWarning)
    known = {c.digest: c.architecture for c in published(truth.space) if c.member}
    first = [a for a in known.values() if truth.costs[truth.index(a)] <= truth.budget_ms]
    count = len(truth.scores)
    rows = []
    for name, start in samplers(truth, first).items():
        if names and name not in names:
            continue
        for seed in range(slow_seeds if name in ("TPE", "GP") else seeds):
            row = trace(start(seed), truth, round(share * count), limit_s)
            rows.append({"sampler": name, "seed": seed, **row})
            told = {k: v for k, v in rows[-1].items() if k != "curve"}
            print(told, file=sys.stderr, flush=True)
    within = np.flatnonzero(truth.costs <= truth.budget_ms)
    front = within[non_dominated(truth.scores[within], truth.costs[within])]
    return {
        "space": truth.space.name,
        "members": count,
        "device": DEVICE,
        "budget_ms": round(truth.budget_ms, 4),
        "within_budget": len(within),
        "front": len(front),
        "best": float(truth.scores[within].max()),
        "enqueued": len(first),
        "rows": rows,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Enumerate, compare and write."""
    parser = argparse.ArgumentParser(prog="python -m results.search.known_front")
    parser.add_argument("--space", type=Path, default=SPACE)
    parser.add_argument("--share", type=float, default=SHARE, help="of the space to score at most")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--slow-seeds", type=int, default=3, help="of TPE and GP")
    parser.add_argument("--limit-s", type=float, default=60.0, help="for each run of a sampler")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--samplers", nargs="*", help="some of them, by name")
    options = parser.parse_args(arguments)
    truth = Truth(SearchSpace.load(options.space), EvaluatorSpec(DEVICE, "imagenet", 0.8).make())
    print(f"{len(truth.scores)} members, budget {truth.budget_ms:.3f} ms", file=sys.stderr)
    found = compare(
        truth,
        options.share,
        options.seeds,
        options.slow_seeds,
        options.limit_s,
        options.samplers,
    )
    given = sys.argv[1:] if arguments is None else list(arguments)
    found = {"command": " ".join(["python -m results.search.known_front", *given]), **found}
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "known_front.json").write_text(json.dumps(found) + "\n")
    write(found, options.out)


if __name__ == "__main__":
    main()
