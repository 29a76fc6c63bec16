"""The loop of one driver among several: claim, evaluate, tell; until the study is whole."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import numpy as np

from effsearch.search.candidates import Candidate, Record
from effsearch.search.executors import Arrivals, Executor
from effsearch.search.limits import Limits
from effsearch.search.loop import InterruptedSearchError, check_some_worked
from effsearch.search.planner import Planner
from effsearch.search.progress import Progress
from effsearch.search.shared.study import Claim, SharedStudy, State

_AHEAD = 2  # rounds under way, so that workers have work while the next is planned
_LOOK_S = 1.0


def search_shared(
    limits: Limits,
    study: SharedStudy,
    planner: Planner,
    executor: Executor,
    progress: Progress,
    workers: int,
    stop: Callable[[], bool] = lambda: False,
) -> list[Record]:
    """Evaluate candidates beside other drivers until the study has the planner's number.

    Which candidates are tried depends on who is at work and how fast. A driver that has nothing to
    do waits for the others' last candidates, so that all see the same winners.

    Args:
        limits: what candidates are held against.
        study: what is known, and who is at what.
        planner: what to evaluate next.
        executor: where.
        progress: told of the candidates of all drivers.
        workers: how many the executor has.
        stop: asked, twice a second or more, whether to end early.

    Returns:
        The records of all drivers, in the order of their trials.

    Raises:
        InterruptedSearchError: where `stop` said so; the study has everything that arrived.
        WorkFailedError: where workers died, the storage failed, or nothing could be priced or
            scored.
    """
    planner.batch = max(planner.batch, workers)
    chooser = _Chooser(planner, study.driver)
    under_way: deque[tuple[list[Claim], Arrivals]] = deque()
    with study.alive():
        try:
            state = study.read()
            progress.start(len(state.records), planner.trials, state.records)
            while True:
                if stop():
                    raise InterruptedSearchError
                chosen = len(under_way) < _AHEAD and chooser.next(state)
                if chosen:
                    claims = study.claim(chosen, state.trials, planner.trials)
                    if claims:
                        arrivals = executor.start([c.candidate.architecture for c in claims])
                        under_way.append((claims, arrivals))
                elif under_way:
                    claims, arrivals = under_way[0]
                    for outcomes in arrivals:
                        for outcome in outcomes:
                            study.tell(claims.pop(0), outcome, limits)
                        if stop():
                            raise InterruptedSearchError
                    under_way.popleft()
                elif state.pending:
                    time.sleep(_LOOK_S)
                else:
                    return state.records
                study.bury()
                state = study.read()
                check_some_worked(state.records)
                progress.advance(len(state.records), state.records)
        finally:
            study.give_up([claim for claims, _ in under_way for claim in claims])


class _Chooser:
    """What this driver would claim next."""

    def __init__(self, planner: Planner, driver: int) -> None:
        self._planner, self._driver = planner, driver
        self._rng = np.random.default_rng(driver)
        self._first = planner.plan(0, [])

    def next(self, state: State) -> list[Candidate]:
        """Return candidates that nobody claimed; none where the study has enough or is whole."""
        planner = self._planner
        room = min(planner.batch, planner.trials - len(state.records) - len(state.pending))
        if room <= 0:
            return []
        seen = {r.candidate.digest for r in state.records} | {c.digest for c in state.pending}
        first = [c for c in self._first if c.digest not in seen]
        if first:
            # In another order than other drivers, so that they seldom claim the same.
            return [first[i] for i in self._rng.permutation(len(first))[:room]]
        # A number that no other driver plans by, and this one once.
        number = 1 + state.trials + (self._driver << 32)
        return planner.plan(number, state.records, state.pending)
