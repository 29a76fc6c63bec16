"""`effsearch run`: from a budget to winners."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from effsearch.cli import JsonFlag, emit_json, say


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


def run(
    budget_ms: Annotated[
        float | None, typer.Option("--budget-ms", help="Latency not to exceed, in ms.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Latency table; `effsearch devices` lists them.")
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", help="Space by name or YAML file.  [default: mobile]")
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Candidates to evaluate in all.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Of every random choice.")] = None,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", help="Probability to meet the budget.  [default: 0.8]"),
    ] = None,
    proxy: Annotated[
        str | None, typer.Option("--proxy", help="Score source.  [default: imagenet]")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Of the supernet, for --proxy supernet.")
    ] = None,
    images: Annotated[
        int | None,
        typer.Option("--images", help="Validation images for --proxy supernet.  [default: all]"),
    ] = None,
    recalibration_batches: Annotated[
        int | None,
        typer.Option(
            "--recalibration-batches",
            help="Batches of 256 images for its batch norms.  [default: 4]",
        ),
    ] = None,
    winners: Annotated[
        int | None, typer.Option("--winners", help="How many to hand back.  [default: 5]")
    ] = None,
    max_params: Annotated[
        float | None, typer.Option("--max-params", help="Parameters at most, in millions.")
    ] = None,
    max_macs: Annotated[
        float | None, typer.Option("--max-macs", help="Multiply-accumulates at most, in millions.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes.  [default: one a core]")
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="local or ray.")] = "local",
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="Of a Ray cluster; else one starts here.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Run folder.  [default: in results/runs]")
    ] = None,
    resume: Annotated[Path | None, typer.Option("--resume", help="Run folder to continue.")] = None,
    refine: Annotated[
        int | None,
        typer.Option("--refine", help="How many of the best to train, and rank by that."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Images for --refine, --proxy supernet: ImageFolder or zip."),
    ] = None,
    refine_epochs: Annotated[
        int | None, typer.Option("--refine-epochs", help="Epochs at most.  [default: the recipe's]")
    ] = None,
    refine_recipe: Annotated[
        str | None,
        typer.Option(
            "--refine-recipe",
            help="Recipe by name or YAML file.  [default: evidence-cpu; with a GPU small]",
        ),
    ] = None,
    refine_concurrent: Annotated[
        int | None,
        typer.Option("--refine-concurrent", help="Trainings at a time.  [default: what fits]"),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Search the most accurate networks within a latency budget; write them to a run folder."""
    from effsearch.accuracy.options import SupernetOptions
    from effsearch.errors import NoArchitectureFitsError
    from effsearch.refine.options import RefineOptions
    from effsearch.report.run_files import read_summary
    from effsearch.run.folder import default_folder, prepare
    from effsearch.run.pipeline import Resources, check_names, resumed, start_folder
    from effsearch.run.pipeline import run as run_search
    from effsearch.run.request import SearchRequest, default_trials
    from effsearch.run.sources import check_same, space_of
    from effsearch.search.executors import ENGINES, usable_cores
    from effsearch.search.loop import InterruptedSearchError
    from effsearch.search.progress import make_progress
    from searchspace import UserError

    given: dict[str, Any] = {
        "budget_ms": budget_ms,
        "device": device,
        "space": space,
        "trials": trials,
        "seed": seed,
        "confidence": confidence,
        "proxy": proxy,
        "winners": winners,
        "max_params_m": max_params,
        "max_macs_m": max_macs,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if workers is not None and workers < 1:
        raise UserError(f"--workers: {workers} is not an integer of 1 or more")
    if engine not in ENGINES:
        raise UserError(f"--engine: {engine!r} is unknown; use one of {', '.join(ENGINES)}")
    if ray_address is not None and engine != "ray":
        raise UserError("--ray-address: needs --engine ray")
    by_supernet = (checkpoint, data, images, recalibration_batches)
    options = RefineOptions(refine, data, refine_epochs, refine_recipe, refine_concurrent)
    options.check()
    if resume is not None:
        if out is not None:
            raise UserError("--out: a resumed run stays in its folder; leave --out away")
        request, folder = resumed(resume), resume
        request = _extended(request, given, folder)
        check_same(request.supernet, folder, *by_supernet)
        refining = _own_data(options, request).resumed(folder, ray_address, say)
    else:
        for name in ("budget_ms", "device"):
            if name not in given:
                raise UserError(f"--{name.replace('_', '-')}: missing")
        given.setdefault("trials", default_trials(given.get("proxy", "imagenet")))
        supernet = SupernetOptions.of(
            given.get("proxy", "imagenet"), *by_supernet, data_is_for_others=True
        )
        if supernet is not None:
            given["supernet"] = supernet
            given.setdefault("space", space_of(supernet))
        request = SearchRequest(**given)
        check_names(request)
        refining = _own_data(options, request).make(ray_address, say)
        folder = out or default_folder(request)
        prepare(folder)
        request = start_folder(request, folder)
    if refining is not None:
        refining.write(folder)
    resources = Resources(workers or usable_cores(), engine, ray_address)
    with _interruptible() as stop:
        try:
            summary = run_search(request, folder, resources, make_progress(), say, stop, refining)
        except NoArchitectureFitsError:
            if as_json:
                emit_json({"folder": str(folder), **read_summary(folder)})
            raise
        except InterruptedSearchError:
            say(f"stopped; continue with: effsearch run --resume {folder}")
            raise typer.Exit(130) from None
    if as_json:
        emit_json({"folder": str(folder), **summary})
    else:
        _show(folder, summary)


def _own_data(options: Any, request: Any) -> Any:
    """Return the options of refining without images that are there for a supernet alone."""
    from dataclasses import replace

    shared = request.supernet is not None and options.count is None
    return replace(options, data=None) if shared else options


def _extended(request: Any, given: dict[str, Any], folder: Path) -> Any:
    """Return a stored request with more trials where they are asked for.

    Anything else that differs is a mistake: the trials so far answer another question.
    """
    from dataclasses import replace

    from searchspace import UserError

    for name, value in given.items():
        stored = getattr(request, name)
        if name in ("trials", "winners") or value == stored:
            continue
        option = "--" + name.removesuffix("_m").replace("_", "-")
        raise UserError(
            f"{option}: {value} differs from {stored} of the run in {folder}; leave it away, or "
            "start a new run"
        )
    changed = {name: given[name] for name in ("trials", "winners") if name in given}
    return replace(request, **changed)


@contextmanager
def _interruptible() -> Iterator[Any]:
    """Turn the first Ctrl-C into a request to stop; the second one ends at once."""
    asked = False

    def handle(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("\nfinishing this batch (Ctrl-C again ends at once)", file=sys.stderr)

    previous = signal.signal(signal.SIGINT, handle)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, previous)


def _show(folder: Path, summary: dict[str, Any]) -> None:
    from effsearch.report.held_out_error import error_text

    unit = summary["score"]["unit"]
    print(
        f"{summary['scored']} candidates priced and scored in {summary['seconds']:.0f} s, "
        f"{summary['within_budget']} within {summary['budget_ms']:g} ms on {summary['device']} "
        f"({summary['kind']} latency, {summary['confidence']:.0%} confidence)"
    )
    print(f"{'':<4}{'latency, ms':<18}{'kind':<13}{'score':<18}{'params':<10}{'MACs':<10}network")
    for rank, row in enumerate(summary["winners"], 1):
        _row(f"{rank}", row, row["blocks"])
    baseline = summary["baseline"]
    if baseline is not None:
        _row("", baseline, f"{baseline['name']}, the best published one that fits")
    for what in ("latency", "score"):
        facts = summary[what]
        error = error_text(facts["held_out_error"])
        print(f"{what}: {facts['source']}, {facts['kind']}; error: {error}")
    print(f"score is {unit}")
    if "refined" in summary:
        from effsearch.report.refined import refined_lines

        for line in refined_lines(summary["refined"]):
            print(line)
    print(summary["statement"])
    opinion = summary["second_opinion"]
    if opinion is not None:
        order = " > ".join(opinion["order"])
        print(f"second opinion, zero-cost scores: {order}. {opinion['note']}")
    for note in summary.get("notes", []):
        print(note)
    print(f"run folder: {folder} (report.html, pareto.png, winners/)")


def _row(label: str, row: dict[str, Any], text: str) -> None:
    latency = f"{row['mean_ms']:.3f} ± {row['std_ms']:.3f}"
    if "measured_ms" in row:
        text += f" (measured here: {row['measured_ms']:.3f} ms"
        if "measured_at_table_speed_ms" in row:
            text += f", {row['measured_at_table_speed_ms']:.3f} at the table's speed"
        text += ")"
    score = f"{row['score']:.2f} ± {row['score_std']:.2f}"
    params, macs = f"{row['params'] / 1e6:.2f} M", f"{row['macs'] / 1e6:.0f} M"
    print(f"{label:<4}{latency:<18}{row['kind']:<13}{score:<18}{params:<10}{macs:<10}{text}")
