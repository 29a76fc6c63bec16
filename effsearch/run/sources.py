"""A search by a supernet: which space it may have, and what is checked before it starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from effsearch.accuracy.options import SUPERNET, SupernetOptions
from effsearch.run.request import SearchRequest
from effsearch.search.evaluation import EvaluatorSpec
from searchspace import SearchSpace, UserError
from searchspace.space import space_names

SCORES = "inherited"  # folder of a run with the scores by digest


def evaluator_spec(request: SearchRequest, folder: Path | None = None) -> EvaluatorSpec:
    """Return what workers make their evaluators from.

    Args:
        request: of the run.
        folder: the run folder, which keeps a supernet's scores; None for the user's cache.
    """
    supernet = request.supernet
    if supernet is not None and folder is not None:
        supernet = replace(supernet, cache=(folder / SCORES).resolve())
    return EvaluatorSpec(request.device, request.proxy, request.confidence, supernet)


def space_of(options: SupernetOptions) -> str:
    """Return the name of the shipped space that a supernet was trained for.

    Raises:
        UserError: where there is no such checkpoint, or its space is none of the shipped ones.
    """
    from effsearch.training.supernet import state as states

    held = states.load(options.checkpoint)
    name = str(held.space["name"])
    if name in space_names() and states.same_space(held.space, SearchSpace.load(name)):
        return name
    raise UserError(
        f"--space: missing; {options.checkpoint} was trained for {name}, which is no shipped "
        "space: give its file"
    )


def check_source(request: SearchRequest) -> None:
    """Check that a supernet can score a request's space on this machine.

    Raises:
        UserError: where checkpoint, data and space do not belong together, or memory runs out.
    """
    if request.proxy != SUPERNET:
        return
    from effsearch.accuracy.supernet_source import SupernetScore

    source = evaluator_spec(request).make().source
    assert isinstance(source, SupernetScore)
    source.check(SearchSpace.load(request.space))


def check_same(
    stored: SupernetOptions | None,
    folder: Path,
    checkpoint: Path | None = None,
    data: Path | None = None,
    images: int | None = None,
    recalibration_batches: int | None = None,
) -> None:
    """Check that what a command line says of a supernet is what a run was begun with.

    Raises:
        UserError: names the option that differs.
    """
    given = {
        "--checkpoint": (checkpoint, stored and stored.checkpoint),
        "--data": (data if stored else None, stored and stored.data),
        "--images": (images, stored and stored.images),
        "--recalibration-batches": (recalibration_batches, stored and stored.recalibration_batches),
    }
    for option, (value, held) in given.items():
        wanted = value.resolve() if isinstance(value, Path) else value
        if wanted is not None and wanted != held:
            raise UserError(
                f"{option}: {value} differs from {held} of the run in {folder}; leave it away, or "
                "start a new run"
            )
