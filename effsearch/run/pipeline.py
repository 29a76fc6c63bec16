"""One run, from a request to a run folder with winners and a report."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from effsearch.errors import NoArchitectureFitsError
from effsearch.latency.timing.measure import Measurement
from effsearch.report.write import regenerate
from effsearch.run.cards import (
    count_numbers,
    latency_numbers,
    number,
    opinion_numbers,
    score_numbers,
)
from effsearch.run.request import SearchRequest
from effsearch.run.sources import check_source, evaluator_spec
from effsearch.run.summary import baseline_of, make_summary, write_summary
from effsearch.run.tables import write_tables
from effsearch.run.winner_folder import Weights, write_winner
from effsearch.search.candidates import Record
from effsearch.search.evaluation import Evaluator
from effsearch.search.executors import make_executor, one_thread
from effsearch.search.loop import search
from effsearch.search.measured_here import MeasuredHere
from effsearch.search.planner import Planner
from effsearch.search.progress import Progress, Silent
from effsearch.search.study import StudyStore
from effsearch.search.winners import choose_winners
from searchspace import Architecture, SearchSpace, UserError
from searchspace.architecture import read_yaml
from searchspace.space import space_names

if TYPE_CHECKING:
    from effsearch.refine.refinement import Refinement
    from effsearch.refine.request import RefineRequest
    from effsearch.run.refiner import Refiner

SPACE_FILE = "space.yaml"


@dataclass(frozen=True)
class Resources:
    """What a run may use; none of it changes what a search finds.

    Attributes:
        workers: processes or Ray actors.
        engine: `local` or `ray`.
        ray_address: of a Ray cluster; None starts one on this machine.
    """

    workers: int = 1
    engine: str = "local"
    ray_address: str | None = None


def run(
    request: SearchRequest,
    folder: Path,
    resources: Resources,
    progress: Progress | None = None,
    say: Callable[[str], None] = lambda message: None,
    stop: Callable[[], bool] = lambda: False,
    refining: RefineRequest | None = None,
) -> dict[str, Any]:
    """Search, or continue to, and write everything that comes out.

    Args:
        request: what is asked for.
        folder: the run folder, new or of the same request.
        resources: what to use.
        progress: told of the search's progress.
        say: told what else happens.
        stop: asked after each batch whether to end early.
        refining: which of the best to train and rank by that; None for none.

    Returns:
        The summary, as written.

    Raises:
        UserError: where the request names what does not exist.
        NoArchitectureFitsError: where nothing meets the limits; the folder has the summary.
        WorkFailedError: where workers died or an export came out wrong.
        InterruptedSearchError: where `stop` said so.
    """
    began = time.perf_counter()
    one_thread()
    progress = progress or Silent()
    spec = evaluator_spec(request, folder)
    evaluator = spec.make()
    space = SearchSpace.load(folder / SPACE_FILE)
    # A supernet has no weights for networks outside of its space.
    planner = Planner(space, request.seed, request.trials, outsiders=request.supernet is None)
    store = StudyStore(folder, space)
    try:
        executor = make_executor(
            resources.engine, spec, evaluator, resources.workers, resources.ray_address
        )
        try:
            records = search(request.limits, store, planner, executor, progress, stop)
        finally:
            progress.close()
            executor.close()
        say(f"{len(records)} candidates evaluated; writing {folder}")
        refiner = None
        if refining is not None:
            from effsearch.run.refiner import Refiner

            cores, address = resources.workers, resources.ray_address
            refiner = Refiner(refining, request, folder, cores, address, say, stop)
        return _write(request, folder, space, evaluator, records, began, say, refiner)
    finally:
        store.close()


def start_folder(request: SearchRequest, folder: Path) -> SearchRequest:
    """Write what a run needs to be continued: the request and the space.

    Returns:
        The request, with what it names made absolute.

    Raises:
        UserError: where the request names a device, a space or a score source that is not there.
    """
    space_text = _space_text(request.space)
    device = Path(request.device)
    if device.suffix == ".json" and device.is_file():
        request = replace(request, device=str(device.resolve()))
    marks = fingerprints(request)
    (folder / SPACE_FILE).write_text(space_text, "utf-8")
    request.write(folder, marks)
    return request


def check_names(request: SearchRequest) -> None:
    """Check that what a request names exists, before anything is written.

    Raises:
        UserError: where it does not.
    """
    fingerprints(request)
    SearchSpace.load(request.space)
    check_source(request)


def fingerprints(request: SearchRequest) -> dict[str, str]:
    """Return digests of the table and the score source that a request names.

    Raises:
        UserError: where there is no such table or source.
    """
    evaluator = evaluator_spec(request).make()
    cards = {"device": evaluator.table.meta, "proxy": getattr(evaluator.source, "card", None)}
    return {
        name: hashlib.sha256(json.dumps(card, sort_keys=True, default=str).encode()).hexdigest()
        for name, card in cards.items()
    }


def resumed(folder: Path) -> SearchRequest:
    """Return the request of a run that is to be continued.

    Raises:
        UserError: where the folder is no run, or its table or score source changed since.
    """
    if not folder.is_dir():
        raise UserError(f"--resume: {folder} is no folder")
    request, then = SearchRequest.read(folder)
    if not (folder / SPACE_FILE).is_file():
        raise UserError(f"--resume: {folder} is no whole run (it has no {SPACE_FILE})")
    now = fingerprints(request)
    for name, value in now.items():
        if then.get(name) != value:
            raise UserError(
                f"--resume: the {name} {getattr(request, name)} changed since {folder} was begun; "
                "start a new run"
            )
    return request


def _space_text(name: str) -> str:
    space = SearchSpace.load(name)
    shipped = Path(str(files("searchspace"))) / "spaces" / f"{name}.yaml"
    path = shipped if name in space_names() else Path(name)
    text = path.read_text("utf-8")
    data = read_yaml(path, "space")
    if isinstance(data, dict) and "name" not in data:
        text = f"name: {space.name}\n{text}"
    return text


def _write(
    request: SearchRequest,
    folder: Path,
    space: SearchSpace,
    evaluator: Evaluator,
    records: list[Record],
    began: float,
    say: Callable[[str], None],
    refiner: Refiner | None = None,
) -> dict[str, Any]:
    write_tables(folder, records)
    seconds = time.perf_counter() - began
    here = MeasuredHere(evaluator.table, request.budget_ms, say)
    refinement = None
    if refiner is None:
        winners = choose_winners(space, records, request.winners, here.accept)
    else:
        winners, refinement = refiner.choose(space, records, here)
    shutil.rmtree(folder / "winners", ignore_errors=True)
    if not winners:
        summary = make_summary(request, evaluator, records, [], seconds)
        fastest, message = nothing_fits(request, evaluator, records, space, here)
        summary["fastest"] = fastest
        write_summary(folder, summary)
        raise NoArchitectureFitsError(message)
    summary = make_summary(request, evaluator, records, winners, seconds, here.found)
    summary["notes"] = [*here.notes, *filter(None, [here.drift()])]
    summary["second_opinion"] = opinion = _second_opinion(request, records, winners)
    if refinement is not None:
        from effsearch.run.refined_entries import add_refined

        add_refined(summary, refinement, winners, baseline_of(records))
    for rank, record in enumerate(winners, 1):
        _export(request, folder, evaluator, record, rank, here, opinion, refinement)
    write_summary(folder, summary)
    regenerate(folder)
    return summary


def _export(
    request: SearchRequest,
    folder: Path,
    evaluator: Evaluator,
    record: Record,
    rank: int,
    here: MeasuredHere,
    opinion: dict[str, Any] | None,
    refinement: Refinement | None = None,
) -> None:
    architecture = record.candidate.architecture.renamed(f"{evaluator.table.name}-winner-{rank}")
    prediction = evaluator.table.predict(architecture)
    facts: dict[str, Any] = {
        "rank": rank,
        "space": request.space,
        "budget_ms": request.budget_ms,
        "latency": latency_numbers(prediction, record.outcome, evaluator.table, request.confidence),
        "score": score_numbers(record.outcome, evaluator.source),
        **count_numbers(record.outcome),
    }
    if opinion is not None:
        facts["second_opinion"] = opinion_numbers(opinion, f"winner {rank}")
    measured = here.found.get(record.candidate.digest)
    if measured is not None:
        facts["measured"] = number(
            measured.median_ms,
            "ms",
            "measured",
            interval=(measured.low_ms, measured.high_ms),
            runs=measured.runs,
            threads=measured.threads,
            spread=measured.spread,
            **_at_table_speed(measured),
        )
    weights = None
    if refinement is not None:
        from effsearch.run.refined_entries import trained_numbers, trained_weights

        trained = trained_numbers(refinement, record.candidate.digest)
        if trained is not None:
            facts["trained"] = trained
        weights = trained_weights(refinement, architecture)
    place = folder / "winners" / str(rank)
    if weights is None and request.supernet is not None:
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            weights = _inherited(evaluator, architecture, Path(scratch))
            write_winner(place, architecture, facts, request.seed, weights)
        return
    write_winner(place, architecture, facts, request.seed, weights)


def _at_table_speed(measured: Measurement) -> dict[str, float]:
    """Return the measurement as it would be at the table's speed, where that is known."""
    ms = measured.at_table_speed_ms
    return {} if ms is None else {"at_table_speed_ms": ms}


def _inherited(evaluator: Evaluator, architecture: Architecture, folder: Path) -> Weights:
    from effsearch.accuracy.supernet_source import SupernetScore
    from effsearch.run.inherited_weights import inherited_weights

    assert isinstance(evaluator.source, SupernetScore)
    return inherited_weights(evaluator.source, architecture, folder)


def _second_opinion(
    request: SearchRequest, records: list[Record], winners: list[Record]
) -> dict[str, Any] | None:
    """Return zero-cost scores of the winners and the baseline, unless they were the score."""
    if request.proxy == "zero-cost":
        return None
    from effsearch.accuracy.second_opinion import second_opinion

    networks = {f"winner {rank}": r.candidate.architecture for rank, r in enumerate(winners, 1)}
    baseline = baseline_of(records)
    if baseline is not None:
        networks[baseline.candidate.source] = baseline.candidate.architecture
    return second_opinion(networks, request.seed)


def nothing_fits(
    request: SearchRequest,
    evaluator: Evaluator,
    records: list[Record],
    space: SearchSpace,
    here: MeasuredHere,
) -> tuple[dict[str, Any] | None, str]:
    """Return the fastest architecture found, as data, and a message on it."""
    members = [r for r in records if r.candidate.member and not r.failed]
    if not members:
        return None, f"no architecture of the space {space.name} could be priced and scored"
    nearest = min(members, key=lambda r: (r.violation, r.outcome.quantile_ms, r.number))
    prediction = evaluator.table.predict(nearest.candidate.architecture)
    outcome = nearest.outcome
    parts = sorted(prediction.stages(), key=lambda part: -part[1])
    where = ", ".join(f"{name} {ms:.3f} ms" for name, ms, _ in parts)
    others = [
        f"{text} {limit:g} M"
        for text, limit in (("parameters", request.max_params_m), ("MACs", request.max_macs_m))
        if limit is not None
    ]
    also = f" with at most {' and '.join(others)}" if others else ""
    if here.dropped:
        reason = f" ({here.dropped} that should have fit were measured here and took longer)"
    else:
        reason = ""
    what = "nearest to these limits" if others else "fastest"
    message = (
        f"no architecture of the space {space.name} is {request.confidence:.0%} likely to take at "
        f"most {request.budget_ms:g} ms on {evaluator.table.name}{also}{reason}.\n"
        f"The {what} of {len(records)} candidates takes {outcome.mean_ms:.3f} ms "
        f"({prediction.kind}; {request.confidence:.0%} likely below {outcome.quantile_ms:.3f} ms), "
        f"with {outcome.params / 1e6:.2f} M parameters and {outcome.macs / 1e6:.0f} M MACs.\n"
        f"Its time goes to: {where}."
    )
    data = {
        "digest": nearest.candidate.digest,
        "mean_ms": outcome.mean_ms,
        "std_ms": outcome.std_ms,
        "quantile_ms": outcome.quantile_ms,
        "kind": prediction.kind,
        "params": outcome.params,
        "macs": outcome.macs,
        "breakdown": [{"part": n, "mean_ms": ms, "kind": kind} for n, ms, kind in parts],
        "architecture": nearest.candidate.architecture.to_dict(),
    }
    return data, message
