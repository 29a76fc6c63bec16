"""What a thousand workers would need, by a simulation and by what asking and storing take here.

    python -m results.search.simulate_workers

Staleness: the real planner for slow scores searches the known front (known_front.yaml) in virtual
time, with more and more candidates under way; scores take a log-normal time. Rates: planning is
timed on `mobile`, claims and results on a database: an SQLite file, and by --storage a PostgreSQL
server too.
Writes workers.{json,md,png} to results/search.
"""

from __future__ import annotations

import argparse
import heapq
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.latency.table import quantile_ms
from effsearch.run.searching import screen_of
from effsearch.search.candidates import SAMPLED, Candidate, Outcome, Record
from effsearch.search.evaluation import Evaluator, EvaluatorSpec
from effsearch.search.guided import GuidedPlanner
from effsearch.search.limits import Limits
from effsearch.search.shared.storage import open_storage
from effsearch.search.shared.study import SharedStudy
from effsearch.search.surrogate import Array
from results.search.benchmark import FOLDER, machine
from results.search.known_front import DEVICE, SPACE, Truth
from results.search.known_front_report import GOAL
from results.search.workers_report import write
from searchspace import SearchSpace
from searchspace.variation import Codes, Variation

WORKERS = (1, 8, 32, 128, 512, 1000)
SHARE = 16  # candidates are planned when a worker in so many is free
BATCHES = (8, 64)  # whose planning is timed
SPREAD = 0.5  # standard deviation of the log of a score's time, whose median is 1
SCORED = 3000  # at most
BUDGET_MS = 2.0
SCORES = (300, 800)  # known when planning is timed
TRIALS = (50, 300)  # of a storage when its pace is timed
CLAIMED = 200  # trials under way when a look is timed
BATCH = 8


@dataclass(frozen=True)
class Search:
    """One search in virtual time.

    Attributes:
        scored: networks scored until the front was found to `GOAL`; None where it was not.
        time: of that, in median times of a score.
        curve: (scored, time, share of the front's hypervolume) now and then.
    """

    scored: int | None
    time: float | None
    curve: list[tuple[int, float, float]]


def simulated(truth: Truth, evaluator: Evaluator, workers: int, seed: int, scored: int) -> Search:
    """Return how a search with so many workers goes, each at one candidate, none ever idle.

    The planner plans as soon as a worker in `SHARE` is free, from what is known by then; planning
    itself takes no time. Latency is free, the score is not.
    """
    planner = GuidedPlanner(
        truth.space,
        seed,
        10**9,
        partial(_screened, truth, evaluator),
        truth.budget_ms,
        outsiders=False,
    )
    planner.batch = max(1, workers // SHARE)
    planner.exhaustive = False
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    under_way: list[tuple[float, int, Candidate]] = []  # end, number, candidate
    waiting: list[Candidate] = planner.plan(0, [])
    now, number, batch = 0.0, 0, 0
    rows: list[int] = []
    curve: list[tuple[int, float, float]] = []
    while len(records) < scored:
        while len(under_way) < workers:
            if not waiting:
                if workers - len(under_way) < planner.batch and under_way:
                    break
                batch += 1
                waiting = planner.plan(batch, records, [c for _, _, c in under_way])
                if not waiting:
                    break
            end = now + float(rng.lognormal(0.0, SPREAD))
            heapq.heappush(under_way, (end, number, waiting.pop(0)))
            number += 1
        if not under_way:
            break
        now, _, candidate = heapq.heappop(under_way)
        row = truth.index(candidate.architecture)
        records.append(_record(truth, row, len(records), candidate))
        if truth.costs[row] <= truth.budget_ms:
            rows.append(row)
        if len(records) % max(5, planner.batch) == 0 and rows:
            share = truth.hypervolume(rows) / truth.exact
            curve.append((len(records), round(now, 2), round(share, 5)))
            if share >= GOAL:
                return Search(len(records), round(now, 2), curve)
    return Search(None, None, curve)


def _screened(truth: Truth, evaluator: Evaluator, codes: Codes) -> Array:
    mean, std = evaluator.table.predict_many(truth.space, codes)
    ms = np.asarray(quantile_ms(mean, std, evaluator.confidence))
    return np.column_stack([np.maximum(ms / truth.budget_ms - 1, 0), ms])


def _record(truth: Truth, row: int, number: int, candidate: Candidate) -> Record:
    cost, score = float(truth.costs[row]), float(truth.scores[row])
    outcome = Outcome(mean_ms=cost, quantile_ms=cost, score=score, lower_bound=score)
    return Record(number, 0, candidate, outcome, {"latency": cost / truth.budget_ms - 1})


def asking(evaluator: Evaluator, counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return how long planning on `mobile` takes after so many scores, in ms a candidate."""
    space = SearchSpace.load("mobile")
    limits = Limits(BUDGET_MS)
    screen = screen_of(space, evaluator, limits)
    codes = Variation(space).sample(max(counts), np.random.default_rng(0))
    records = []
    for number, (code, (_, cost, score)) in enumerate(zip(codes, screen(codes), strict=True)):
        outcome = Outcome(quantile_ms=cost, mean_ms=cost, score=score, lower_bound=score)
        candidate = Candidate(space.decode(code), SAMPLED)
        records.append(Record(number, 0, candidate, outcome, limits.excess(outcome)))
    found = []
    for count, size in product(counts, BATCHES):
        planner = GuidedPlanner(space, 0, 10**9, screen, BUDGET_MS)
        planner.batch = size
        planner.plan(1, records[:count])  # learns the parts that all have
        began, planned = time.process_time(), 0
        for batch in range(2, 6):
            planned += len(planner.plan(batch, records[:count]))
        each_ms = 1e3 * (time.process_time() - began) / planned
        found.append({"scored": count, "batch": size, "cpu_ms_each": round(each_ms, 1)})
    return found


def pricing(evaluator: Evaluator) -> float:
    """Return how long pricing a child of a priced network takes, in ms of CPU time."""
    space, rng = SearchSpace.load("mobile"), np.random.default_rng(0)
    network, each = space.sample(rng), []
    evaluator.prepare([network])
    evaluator.priced(network)
    for _ in range(40):
        network = space.mutate(network, rng, 2)
        began = time.process_time()
        evaluator.prepare([network])
        evaluator.priced(network)
        each.append(time.process_time() - began)
    return round(1e3 * float(np.mean(each)), 1)


def storing(url: str, counts: Sequence[int]) -> dict[str, Any]:
    """Return how long claims, results and looks at the study take, in ms."""
    space, rng = SearchSpace.load("mobile"), np.random.default_rng(0)
    study = SharedStudy(open_storage(url), f"pace {time.time_ns()}", space, {})
    outcome, limits = Outcome(quantile_ms=1.1, score=70.0, lower_bound=69.0), Limits(BUDGET_MS)
    found, trials = [], 0
    for count in counts:
        while trials < count:
            trials += _passed(study, space, rng, outcome, limits)[0]
        rows = [_passed(study, space, rng, outcome, limits) for _ in range(5)]
        trials += sum(row[0] for row in rows)
        claim, tell, look = (1e3 * float(np.median([row[i] for row in rows])) for i in (1, 2, 3))
        found.append(
            {
                "trials": count,
                "claim_ms": round(claim, 1),
                "tell_ms": round(tell, 1),
                "look_ms": round(look, 1),
            }
        )
    wanted = [Candidate(space.sample(rng), SAMPLED) for _ in range(CLAIMED)]
    study.claim(wanted, 0, 10**9)
    began = time.perf_counter()
    for _ in range(3):
        study.read()
    crowded_ms = round(1e3 * (time.perf_counter() - began) / 3, 1)
    return {"rows": found, "claimed": CLAIMED, "look_ms": crowded_ms}


def _passed(
    study: SharedStudy,
    space: SearchSpace,
    rng: np.random.Generator,
    outcome: Outcome,
    limits: Limits,
) -> tuple[int, float, float, float]:
    """Let a batch pass through a study: how many, and seconds to claim, to tell, and to look."""
    wanted = [Candidate(space.sample(rng), SAMPLED) for _ in range(BATCH)]
    begin = time.perf_counter()
    claims = study.claim(wanted, 0, 10**9)
    claimed = time.perf_counter()
    for claim in claims:
        study.tell(claim, outcome, limits)
    told = time.perf_counter()
    study.read()
    looked = time.perf_counter() - told
    return len(claims), (claimed - begin) / BATCH, (told - claimed) / BATCH, looked


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, time and write."""
    parser = argparse.ArgumentParser(prog="python -m results.search.simulate_workers")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--scored", type=int, default=SCORED)
    parser.add_argument("--storage", help="URL of a PostgreSQL database to time")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    evaluator = EvaluatorSpec(DEVICE, "imagenet", 0.8).make()
    truth = Truth(SearchSpace.load(SPACE), evaluator)
    rows = []
    for workers in options.workers:
        for seed in range(options.seeds):
            found = simulated(truth, evaluator, workers, seed, options.scored)
            rows.append({"workers": workers, "seed": seed, **asdict(found)})
            told = {k: v for k, v in rows[-1].items() if k != "curve"}
            print(told, file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        paces = {"SQLite": storing(f"sqlite:///{folder}/study.db", TRIALS)}
        if options.storage:
            paces["PostgreSQL"] = storing(options.storage, TRIALS)
    pace, price_ms = asking(evaluator, SCORES), pricing(evaluator)
    given = sys.argv[1:] if arguments is None else list(arguments)
    if options.storage:
        given[given.index("--storage") + 1] = "URL"
    result = {
        "command": " ".join(["python -m results.search.simulate_workers", *given]),
        "machine": machine(),
        "members": len(truth.scores),
        "spread": SPREAD,
        "share": SHARE,
        "scored_at_most": options.scored,
        "asking": pace,
        "price_cpu_ms_each": price_ms,
        "storing": paces,
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "workers.json").write_text(json.dumps(result) + "\n")
    write(result, options.out)


if __name__ == "__main__":
    main()
