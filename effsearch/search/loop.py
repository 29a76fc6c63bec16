"""The loop: plan a batch, evaluate it, store and count what arrives; until nothing is planned."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from effsearch.errors import WorkFailedError
from effsearch.search.candidates import Candidate, Outcome, Record
from effsearch.search.executors import Executor
from effsearch.search.limits import Limits
from effsearch.search.planner import Planner
from effsearch.search.progress import Progress
from effsearch.search.study import StudyStore

_WRITE_S = 1.0


class InterruptedSearchError(Exception):
    """The search was asked to stop; everything evaluated is stored."""


def search(
    limits: Limits,
    store: StudyStore,
    planner: Planner,
    executor: Executor,
    progress: Progress,
    stop: Callable[[], bool] = lambda: False,
) -> list[Record]:
    """Evaluate candidates until the planner's number is reached or nothing is left to try.

    The next batch is under way while the last one is written, so workers do not wait for the disk.
    What arrives slowly is written once a second; a kill loses no more.

    Args:
        limits: what candidates are held against.
        store: where trials are; those there already are not evaluated again.
        planner: what to evaluate next.
        executor: where.
        progress: told of candidates once they are on disk.
        stop: asked, twice a second or more, whether to end early.

    Returns:
        All records, in order.

    Raises:
        InterruptedSearchError: where `stop` said so; the store has everything that arrived.
        WorkFailedError: where workers died, or nothing could be priced or scored.
    """
    records = store.records()
    progress.start(len(records), planner.trials, records)
    batch, candidates = _unfinished(planner, records)
    written, last = len(records), time.monotonic()

    def write() -> None:
        nonlocal written, last
        if written < len(records):
            store.add(records[written:])
            written = len(records)
            progress.advance(written, records)
        last = time.monotonic()

    while candidates:
        arrivals = executor.start([c.architecture for c in candidates])
        write()
        before = len(records)
        try:
            for outcomes in arrivals:
                done = len(records)
                taken = candidates[done - before : done - before + len(outcomes)]
                records += _records(limits, batch, done, taken, outcomes)
                if time.monotonic() - last > _WRITE_S:
                    write()
                if stop():
                    raise InterruptedSearchError
        except (InterruptedSearchError, WorkFailedError, KeyboardInterrupt):
            write()
            raise
        _check(records)
        batch += 1
        candidates = planner.plan(batch, records)
    write()
    return records


def _unfinished(planner: Planner, records: Sequence[Record]) -> tuple[int, list[Candidate]]:
    """Return the number of the first batch that is not whole, and what it lacks."""
    batch = records[-1].batch if records else 0
    planned = planner.plan(batch, [r for r in records if r.batch < batch])
    seen = {r.candidate.digest for r in records}
    lacking = [c for c in planned if c.digest not in seen]
    room = planner.trials - len(records)
    if lacking or not records:
        return batch, lacking[: max(0, room)]
    return batch + 1, planner.plan(batch + 1, records)


def _records(
    limits: Limits,
    batch: int,
    first: int,
    candidates: Sequence[Candidate],
    outcomes: Sequence[Outcome],
) -> list[Record]:
    pairs = enumerate(zip(candidates, outcomes, strict=True), first)
    return [
        Record(number, batch, candidate, outcome, {} if outcome.error else limits.excess(outcome))
        for number, (candidate, outcome) in pairs
    ]


def _check(records: Sequence[Record]) -> None:
    if all(r.failed for r in records):
        raise WorkFailedError(
            f"none of the first {len(records)} candidates could be priced and scored; the first: "
            f"{records[0].outcome.error}"
        )
