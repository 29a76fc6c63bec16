"""One run, from a checked start to a run folder with winners and a report."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effsearch.errors import NoArchitectureFitsError
from effsearch.report.write import regenerate
from effsearch.run.by_hand import best_published
from effsearch.run.explained import explained
from effsearch.run.helpers import Helpers
from effsearch.run.nothing_fits import nothing_fits
from effsearch.run.other_devices import on_other_devices
from effsearch.run.searching import Searched, searched
from effsearch.run.start import Start
from effsearch.run.summary import make_summary, write_summary
from effsearch.run.tables import write_tables
from effsearch.run.winner_facts import winner_facts
from effsearch.run.winner_files import drop_beyond
from effsearch.run.winner_folder import write_winner
from effsearch.search.candidates import Record
from effsearch.search.importance import importances
from effsearch.search.measured_here import MeasuredHere
from effsearch.search.processes import one_thread
from effsearch.search.progress import Progress, Silent
from effsearch.search.study import StudyStore
from effsearch.search.winners import choose_winners

if TYPE_CHECKING:
    import optuna

    from effsearch.refine.refinement import Refinement

_MOST_HELPERS = 4  # processes of half a gigabyte


def run(
    start: Start,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda message: None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Search, or continue to, and write everything that comes out.

    Args:
        start: a run that was begun or is resumed.
        progress: told of the search's progress.
        say: told what else happens.
        stop: asked after each batch whether to end early.

    Returns:
        The summary, as written.

    Raises:
        NoArchitectureFitsError: where nothing meets the limits; the folder has the summary.
        WorkFailedError: where workers died or an export came out wrong.
        InterruptedSearchError: where `stop` said so.
    """
    began = time.perf_counter()
    one_thread()
    progress = progress or Silent()
    store = StudyStore(start.folder, start.space)
    helpers = Helpers(min(start.resources.workers, start.request.winners, _MOST_HELPERS))
    try:
        found = searched(start, store, progress, say, stop)
        say(f"{found.considered} networks considered; writing {start.folder}")
        return _write(start, found, store.study, began, helpers, say, stop)
    finally:
        helpers.close()
        store.close()


def _write(
    start: Start,
    found: Searched,
    study: optuna.Study,
    began: float,
    helpers: Helpers,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> dict[str, Any]:
    request, folder, evaluator = start.request, start.folder, start.evaluator
    records = found.records
    write_tables(folder, records)
    seconds = time.perf_counter() - began
    here = MeasuredHere(evaluator.table, request.budget_ms, say)
    winners, refinement = _choose(start, records, here, say, stop)
    drop_beyond(folder / "winners", len(winners))
    if not winners:
        summary = make_summary(request, evaluator, start.space, found, [], seconds)
        fastest, message = nothing_fits(request, evaluator, records, start.space, here)
        summary["fastest"] = fastest
        write_summary(folder, summary)
        raise NoArchitectureFitsError(message)
    summary = make_summary(request, evaluator, start.space, found, winners, seconds, here.found)
    summary["notes"] = [*here.notes, *filter(None, [here.drift()])]
    if len(winners) < request.winners:
        summary["notes"].append(
            f"{request.winners} winners were asked for; {len(winners)} that differ enough meet the "
            "limits."
        )
    summary["second_opinion"] = opinion = _second_opinion(start, records, winners, helpers)
    if refinement is not None:
        from effsearch.run.refined_entries import add_refined

        add_refined(summary, refinement, winners, best_published(records))
    summary["explain"] = explained(start.space, evaluator, winners)
    summary["importance"] = importances(study)
    summary["other_devices"] = on_other_devices(
        winners, [table.name for table in (evaluator.table, *evaluator.others)]
    )
    _export(start, winners, here, opinion, refinement, helpers)
    write_summary(folder, summary)
    regenerate(folder)
    return summary


def _choose(
    start: Start,
    records: list[Record],
    here: MeasuredHere,
    say: Callable[[str], None],
    stop: Callable[[], bool],
) -> tuple[list[Record], Refinement | None]:
    """Return the winners, by training where that is wanted, and what came of it."""
    request = start.request
    if start.refining is None:
        return choose_winners(start.space, records, request.winners, here.accept), None
    from effsearch.run.refiner import Refiner

    cores, address = start.resources.workers, start.resources.ray_address
    refiner = Refiner(start.refining, request, start.folder, cores, address, say, stop)
    return refiner.choose(start.space, records, here)


def _export(
    start: Start,
    winners: list[Record],
    here: MeasuredHere,
    opinion: dict[str, Any] | None,
    refinement: Refinement | None,
    helpers: Helpers,
) -> None:
    evaluator, request = start.evaluator, start.request
    untrained = []
    for rank, record in enumerate(winners, 1):
        name = f"{evaluator.table.name}-winner-{rank}"
        architecture = record.candidate.architecture.renamed(name)
        measured = here.found.get(record.candidate.digest)
        facts = winner_facts(request, evaluator, record, architecture, rank, opinion, measured)
        weights = None
        if refinement is not None:
            from effsearch.run.refined_entries import trained_numbers, trained_weights

            trained = trained_numbers(refinement, record.candidate.digest)
            if trained is not None:
                facts["trained"] = trained
            weights = trained_weights(refinement, architecture)
        place = start.folder / "winners" / str(rank)
        with tempfile.TemporaryDirectory(dir=start.folder) as scratch:
            score = record.outcome.score
            weights = weights or evaluator.source.weights_for(architecture, score, Path(scratch))
            if weights is None:
                untrained.append((place, architecture, facts, request.seed))
            else:
                write_winner(place, architecture, facts, request.seed, weights)
    if untrained:
        helpers.map(write_winner, *zip(*untrained, strict=True))


def _second_opinion(
    start: Start, records: list[Record], winners: list[Record], helpers: Helpers
) -> dict[str, Any] | None:
    """Return zero-cost scores of the winners and the baseline.

    None where they were the score, or are not for the task.
    """
    from effsearch.accuracy.second_opinion import second_opinion
    from effsearch.accuracy.zero_cost_source import ZeroCost

    if start.request.proxy == ZeroCost.name or start.request.task != ZeroCost.task:
        return None
    networks = {f"winner {rank}": r.candidate.architecture for rank, r in enumerate(winners, 1)}
    baseline = best_published(records)
    if baseline is not None:
        networks[baseline.candidate.source] = baseline.candidate.architecture
    return second_opinion(networks, start.request.seed, helpers.map)
