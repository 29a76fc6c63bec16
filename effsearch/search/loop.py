"""The loop: plan batches, evaluate them, store and count what arrives; until nothing is planned."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from effsearch.errors import WorkFailedError
from effsearch.search.candidates import Candidate, Outcome, Record
from effsearch.search.executors import Arrivals, Executor
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

    A batch is planned from those that are `planner.lag` and more batches before the last one, so
    that workers have work while results are waited for and the next batch is planned; which
    candidates are evaluated depends neither on how many workers there are nor on how fast they are.
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
    batches = _Batches(planner, records)
    under_way: deque[tuple[int, list[Candidate], Arrivals]] = deque()
    written, last = len(records), time.monotonic()

    def write() -> None:
        nonlocal written, last
        if written < len(records):
            store.add(records[written:])
            written = len(records)
            progress.advance(written, records)
        last = time.monotonic()

    while True:
        while len(under_way) <= planner.lag and (candidates := batches.next(records)) is not None:
            arrivals = executor.start([c.architecture for c in candidates])
            under_way.append((batches.number, candidates, arrivals))
        write()
        if not under_way:
            return records
        batch, candidates, arrivals = under_way.popleft()
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
        check_some_worked(records)


class _Batches:
    """The batches of a search, one after the other; first what an earlier run left undone.

    Attributes:
        number: of the batch given last.
    """

    def __init__(self, planner: Planner, records: Sequence[Record]) -> None:
        self.number = (records[-1].batch if records else 0) - 1
        self._planner = planner
        self._given: dict[int, list[Candidate]] = {}
        for record in records:
            self._given.setdefault(record.batch, []).append(record.candidate)

    def next(self, records: Sequence[Record]) -> list[Candidate] | None:
        """Return what a batch lacks; None where nothing is left to try."""
        batch = self.number + 1
        known = batch - self._planner.lag
        earlier = [r for r in records if r.batch < known]
        pending = [c for b in range(max(0, known), batch) for c in self._given[b]]
        planned = self._planner.plan(batch, earlier, pending)
        if not planned:
            return None
        self.number, held = batch, self._given.setdefault(batch, [])
        digests = {c.digest for c in held}
        room = self._planner.trials - len(earlier) - len(pending) - len(held)
        lacking = [c for c in planned if c.digest not in digests][: max(0, room)]
        held += lacking
        return lacking


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


def check_some_worked(records: Sequence[Record]) -> None:
    """Check that not all that was tried failed.

    Raises:
        WorkFailedError: where it did.
    """
    if records and all(r.failed for r in records):
        raise WorkFailedError(
            f"none of the first {len(records)} candidates could be priced and scored; the first: "
            f"{records[0].outcome.error}"
        )
