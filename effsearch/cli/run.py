"""`effsearch run`: from a budget to winners."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effsearch.cli import JsonFlag, emit_json, say, seed_option
from effsearch.cli._interrupt import stoppable
from effsearch.cli._score_flags import ScoreFlags, with_score_flags
from searchspace import UserError
from searchspace.narrowing import Narrowing
from searchspace.resolution import parse_resolution

if TYPE_CHECKING:
    from effsearch.search.limits import OtherDevice


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("run")(run)


@with_score_flags
def run(
    score_flags: ScoreFlags,
    budget_ms: Annotated[
        float | None, typer.Option("--budget-ms", help="Latency not to exceed, in ms.")
    ] = None,
    device: Annotated[
        str | None, typer.Option("--device", help="Latency table; `effsearch devices` lists them.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="classification or segmentation.  [default: classification]"),
    ] = None,
    space: Annotated[
        str | None,
        typer.Option(
            "--space", help="Space by name or YAML file.  [default: mobile; segmentation]"
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option("--trials", help="Candidates to record.  [default: 1000]")
    ] = None,
    consider: Annotated[
        int | None,
        typer.Option(
            "--consider",
            help="Networks to price and score, where the score adds up; a million take about 22 s "
            "of CPU time.  [default: 1000000]",
        ),
    ] = None,
    seed: Annotated[int | None, seed_option("Of every random choice.")] = None,
    confidence: Annotated[
        float | None,
        typer.Option("--confidence", help="Probability to meet the budget.  [default: 0.8]"),
    ] = None,
    proxy: Annotated[
        str | None,
        typer.Option("--proxy", help="Score source.  [default: imagenet; cityscapes]"),
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
    max_memory: Annotated[
        float | None,
        typer.Option(
            "--max-memory", help="Activations alive at once at most, in MB (batch 1, float32)."
        ),
    ] = None,
    max_size: Annotated[
        float | None, typer.Option("--max-size", help="Weights at most, in MB (float32).")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", help="A further device and its budget: DEVICE=MS; repeatable."),
    ] = None,
    watch: Annotated[
        list[str] | None,
        typer.Option("--watch", help="A further device, only reported; repeatable."),
    ] = None,
    enqueue: Annotated[
        list[str] | None,
        typer.Option(
            "--enqueue",
            help="A network of your own: architecture YAML, winner's folder; repeatable.",
        ),
    ] = None,
    blocks: Annotated[
        str | None, typer.Option("--blocks", help="Block types to keep of the space: a,b.")
    ] = None,
    stem_strides: Annotated[
        str | None, typer.Option("--stem-strides", help="Stem strides to keep of the space: 8,16.")
    ] = None,
    resolution: Annotated[
        str | None,
        typer.Option("--resolution", help="Resolutions to keep of the space: 224,512x1024."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes.  [default: one a core]")
    ] = None,
    engine: Annotated[str, typer.Option("--engine", help="local or ray.")] = "local",
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="Of a Ray cluster; else one starts here.")
    ] = None,
    ray_wait: Annotated[
        float | None,
        typer.Option("--ray-wait", help="Seconds to wait for a free CPU there.  [default: 30]"),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            "--storage",
            help="URL of a database with a study that several runs share.",
        ),
    ] = None,
    study: Annotated[
        str | None, typer.Option("--study", help="Name of that study; the same for all.")
    ] = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Score again what earlier runs scored.")
    ] = False,
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
    from effsearch.errors import NoArchitectureFitsError
    from effsearch.refine.options import RefineOptions
    from effsearch.report.run_files import read_summary
    from effsearch.run.arguments import RunArguments
    from effsearch.run.console import show_run
    from effsearch.run.enqueued import Enqueued
    from effsearch.run.pipeline import run as run_search
    from effsearch.run.start import start
    from effsearch.search.loop import InterruptedSearchError
    from effsearch.search.progress import make_progress

    begun = start(
        RunArguments(
            score_flags=score_flags,
            refining=RefineOptions(refine, data, refine_epochs, refine_recipe, refine_concurrent),
            out=out,
            resume=resume,
            budget_ms=budget_ms,
            device=device,
            task=task,
            space=space,
            trials=trials,
            consider=consider,
            seed=seed,
            confidence=confidence,
            proxy=proxy,
            winners=winners,
            max_params_m=max_params,
            max_macs_m=max_macs,
            max_memory_mb=max_memory,
            max_size_mb=max_size,
            also=_others(also, watch),
            enqueue=tuple(map(Enqueued.read, enqueue)) if enqueue else None,
            narrowing=_narrowing(blocks, stem_strides, resolution),
            workers=workers,
            engine=engine,
            ray_address=ray_address,
            ray_wait_s=ray_wait,
            cache=not no_cache,
            storage=storage,
            study=study,
        ),
        say,
    )
    folder = begun.folder
    with stoppable(
        lambda: f"continue with: effsearch run --resume {folder}",
        "what is evaluated is kept",
        InterruptedSearchError,
    ) as stop:
        try:
            summary = run_search(begun, make_progress(), say, stop)
        except NoArchitectureFitsError:
            if as_json:
                emit_json({"folder": str(folder), **read_summary(folder)})
            raise
    if as_json:
        emit_json({"folder": str(folder), **summary})
    else:
        show_run(folder, summary)


def _others(also: list[str] | None, watch: list[str] | None) -> tuple[OtherDevice, ...] | None:
    from effsearch.search.limits import OtherDevice

    found = (*map(OtherDevice.read, also or ()), *map(OtherDevice, watch or ()))
    return found or None


def _narrowing(
    blocks: str | None, stem_strides: str | None, resolution: str | None
) -> Narrowing | None:
    given = Narrowing(
        tuple(_items("--blocks", blocks, str)),
        tuple(_items("--stem-strides", stem_strides, int)),
        tuple(
            parse_resolution("--resolution", item)
            for item in _items("--resolution", resolution, str)
        ),
    )
    return given or None


def _items(option: str, text: str | None, kind: type) -> Iterator[Any]:
    for item in () if text is None else text.split(","):
        try:
            yield kind(item.strip())
        except ValueError:
            raise UserError(f"{option}: {item!r} is not an integer") from None
