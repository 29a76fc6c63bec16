"""The search of a run: by totals where the score allows, else candidate by candidate."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from effsearch.accuracy.registry import find
from effsearch.accuracy.score import TotalsScore
from effsearch.accuracy.score_cache import ScoreCache
from effsearch.files import atomic_write_text
from effsearch.run.start import Start
from effsearch.search.candidates import Record
from effsearch.search.considering.assessment import Assessor
from effsearch.search.considering.search import search_by_totals
from effsearch.search.engines import make_executor
from effsearch.search.evaluation import Evaluator
from effsearch.search.executors import Executor
from effsearch.search.guided import GuidedPlanner, Screen
from effsearch.search.limits import Limits
from effsearch.search.loop import InterruptedSearchError, search
from effsearch.search.planner import Planner, enqueued
from effsearch.search.progress import Progress
from effsearch.search.scaled_starts import scaled_starts
from effsearch.search.study import StudyStore
from searchspace import SearchSpace
from searchspace.variation import Variation

FILE = "considered.json"


@dataclass(frozen=True)
class Searched:
    """What a run's search found.

    Attributes:
        records: of the study, in order.
        considered: how many different networks were priced, and scored where they meet the limits.
        progress: rows of `considered`, `best_lower_bound` and `hypervolume`; empty where each
            candidate was recorded.
    """

    records: list[Record]
    considered: int
    progress: list[dict[str, Any]] = field(default_factory=list)


def searched(
    start: Start,
    store: StudyStore,
    progress: Progress,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> Searched:
    """Search, or continue to, and keep everything in the study.

    Args:
        start: a run that was begun or is resumed.
        store: its study.
        progress: told of the search's progress.
        say: told what a cluster lacks.
        stop: asked often whether to end early.

    Raises:
        InterruptedSearchError: where `stop` said so.
        WorkFailedError: where workers died, or nothing could be priced and scored.
    """
    request, space = start.request, start.space
    exhaustive = space.size() <= request.trials
    try:
        more = request.consider > request.trials  # else all that is considered is recorded
        if isinstance(start.evaluator.source, TotalsScore) and more and not exhaustive:
            if start.resources.engine == "ray" and start.refining is None:
                say(
                    f"--engine ray: has nothing to do here; the score {request.proxy} adds up over "
                    "a network's parts, and this process considers all networks by itself"
                )
            return _by_totals(start, store, progress, stop)
        screen, anywhere = start.screen(), start.evaluator.source.space is None
        starts = [] if exhaustive else scaled_starts(space, screen, request.limits)
        own = enqueued(space, [held.network for held in request.enqueue])
        planner = Planner(space, request.seed, request.trials, anywhere, starts, own)
        if find(request.proxy).slow and not exhaustive:
            planner = GuidedPlanner(
                space,
                request.seed,
                request.trials,
                screen_of(space, screen, request.limits),
                request.budget_ms,
                anywhere,
                starts,
                own,
            )
        resources, cache = start.resources, _cache(start, say)
        executor = make_executor(
            resources.engine,
            request.evaluator_spec,
            start.evaluator,
            resources.workers,
            resources.ray_address,
            resources.ray_wait_s,
            say,
            cache,
        )
        try:
            if start.shared is None:
                records = search(request.limits, store, planner, executor, progress, stop)
            else:
                records = _with_others(start, store, planner, executor, progress, stop)
        finally:
            executor.close()
            if cache is not None:
                _tell(cache, say)
        return Searched(records, len(records))
    finally:
        progress.close()


def _with_others(
    start: Start,
    store: StudyStore,
    planner: Planner,
    executor: Executor,
    progress: Progress,
    stop: Callable[[], bool],
) -> list[Record]:
    """Search beside other drivers, and keep what all of them found in the run's own study too."""
    from effsearch.search.shared.loop import search_shared

    shared, workers = start.shared, start.resources.workers
    assert shared is not None
    found = search_shared(start.request.limits, shared, planner, executor, progress, workers, stop)
    held = {record.candidate.digest for record in store.records()}
    store.add([record for record in found if record.candidate.digest not in held])
    return store.records()


def _cache(start: Start, say: Callable[[str], None]) -> ScoreCache | None:
    """Return where the scores of a run are kept; None where they are fast or shall not be."""
    source = start.evaluator.source
    if not (start.resources.cache and find(start.request.proxy).slow):
        return None
    if not source.repeatable:
        say(f"scores are not kept for other runs: what {source.name} depends on can't be told")
        return None
    try:
        cache = ScoreCache.of(source, start.request.options)
    except OSError as error:
        say(f"scores are not kept for other runs: {error}")
        return None
    if cache.damaged:
        say(f"{cache.path}: {cache.damaged} damaged lines are left out")
    return cache


def _tell(cache: ScoreCache, say: Callable[[str], None]) -> None:
    if cache.found:
        say(f"{cache.found} scores came from earlier runs ({cache.path}); --no-cache scores again")
    if cache.failure:
        say(f"scores are not kept for other runs: {cache.failure}")


def screen_of(space: SearchSpace, screen: Evaluator, limits: Limits) -> Screen:
    """Return what is free to know of members, as `GuidedPlanner` takes it.

    By how much they exceed the limits, their latency, and the fast score's estimate.
    """
    source = screen.source
    assert isinstance(source, TotalsScore)
    hashes, others = Variation(space).hashes, screen.others
    assessor = Assessor(space, screen.table, source, limits, screen.confidence, hashes, others)
    return assessor.estimates


def _by_totals(
    start: Start, store: StudyStore, progress: Progress, stop: Callable[[], bool]
) -> Searched:
    """Consider networks, unless the folder says that this was done.

    The result depends on the request alone, so what an interrupted run lacks is found again.
    """
    request, kept = start.request, start.folder / FILE
    done = _read(kept)
    asked = {"consider": request.consider, "trials": request.trials}
    records = store.records()
    if done is None or done["asked"] != asked or len(records) < done["recorded"]:
        progress.start(0, request.consider, records)
        found = search_by_totals(
            start.space,
            start.evaluator,
            request.limits,
            request.consider,
            request.trials,
            request.seed,
            start.evaluator.source.space is None,
            enqueued(start.space, [held.network for held in request.enqueue]),
            stop,
            progress.consider,
        )
        if found is None:
            raise InterruptedSearchError
        store.add(_fresh(records, found.records, request.trials))
        records = store.records()
        done = {
            "asked": asked,
            "considered": found.considered,
            "recorded": len(records),
            "progress": found.progress,
        }
        atomic_write_text(kept, json.dumps(done, indent=2) + "\n")
    return Searched(records, done["considered"], done["progress"])


def _fresh(held: Sequence[Record], found: Sequence[Record], trials: int) -> list[Record]:
    """Return what there is room for of what is not held yet, and all that is better than that."""
    digests = {record.candidate.digest for record in held}
    best = max((r.outcome.lower_bound for r in held if r.feasible), default=-math.inf)
    fresh = [record for record in found if record.candidate.digest not in digests]
    room = max(0, trials - len(held))
    better = [r for r in fresh[room:] if r.feasible and r.outcome.lower_bound > best]
    return fresh[:room] + (better if held else [])


def _read(path: Path) -> dict[str, Any] | None:
    try:
        body: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return body
