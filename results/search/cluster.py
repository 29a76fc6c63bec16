"""How near to ideal a search on a Ray cluster is, where a score takes a fifth of a second.

    python -m results.search.cluster

A head that works on nothing and two nodes, processes of this machine as Ray itself starts them. The
score sleeps, so that two cores carry many workers. Ideal: every worker scores all the time. The
first fifth of the candidates does not count, since workers start in it one after the other. The
same search is done by processes of this machine, for its trials and its pace.
Writes cluster.json to results/search.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from effsearch.run.arguments import RunArguments
from effsearch.run.searching import searched
from effsearch.run.start import start
from effsearch.search.candidates import Record
from effsearch.search.progress import Silent
from effsearch.search.study import StudyStore
from results.search import slow_score
from results.search.benchmark import FOLDER, machine

NODES = 2
UNCOUNTED = 0.2  # of the candidates
TARGET = 0.9


class Stopwatch(Silent):
    """Notes when candidates were stored."""

    def __init__(self) -> None:
        self.stored: list[tuple[float, int]] = []

    def advance(self, done: int, records: Sequence[Record]) -> None:
        """See `Progress`."""
        self.stored.append((time.perf_counter(), done))


def timed(engine: str, workers: int, trials: int, address: str | None) -> tuple[list[Any], float]:
    """Search, and return what was evaluated, and how many a second."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = RunArguments(
            score_flags={"score": f"{slow_score.__name__}:score"},
            out=Path(folder) / "run",
            budget_ms=2.0,
            device="iphone12",
            trials=trials,
            workers=workers,
            engine=engine,
            ray_address=address,
            cache=False,
        )
        begun = start(arguments, print)
        store, watch = StudyStore(begun.folder, begun.space), Stopwatch()
        try:
            records = searched(begun, store, watch, print, lambda: False).records
        finally:
            store.close()
    begin, first = next(at for at in watch.stored if at[1] >= UNCOUNTED * trials)
    end, last = watch.stored[-1]
    return [(r.candidate.digest, r.outcome) for r in records], (last - first) / (end - begin)


def measured(workers: int, trials: int) -> dict[str, Any]:
    """Return the pace on a cluster and on this machine, and whether the trials are the same."""
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(NODES):
            cluster.add_node(num_cpus=workers // NODES)
        remote, pace = timed("ray", workers, trials, cluster.address)
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
    local, local_pace = timed("local", workers, trials, None)
    ideal = workers / slow_score.SECONDS
    return {
        "workers": workers,
        "trials": trials,
        "seconds_a_score": slow_score.SECONDS,
        "ideal_a_second": ideal,
        "ray_a_second": round(pace, 2),
        "ray_of_ideal": round(pace / ideal, 3),
        "local_a_second": round(local_pace, 2),
        "local_of_ideal": round(local_pace / ideal, 3),
        "same_trials": remote == local,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(prog="python -m results.search.cluster")
    parser.add_argument("--workers", type=int, default=8, help="on both nodes together")
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else list(arguments)
    row = measured(options.workers, options.trials)
    result = {
        "command": " ".join(["python -m results.search.cluster", *given]),
        "machine": machine(),
        **row,
        "target": f"{TARGET:.0%} of ideal, and the same trials",
        "met": row["ray_of_ideal"] >= TARGET and row["same_trials"],
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "cluster.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
