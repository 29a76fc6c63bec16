"""`find`: a whole run, from a device and a budget to winners."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from itertools import starmap
from pathlib import Path
from types import MappingProxyType
from typing import Any

from effsearch.api.result import Result
from effsearch.messages import say
from effsearch.refine.options import RefineOptions
from effsearch.run.arguments import RunArguments
from effsearch.run.enqueued import Enqueued
from effsearch.run.pipeline import run
from effsearch.run.start import start
from effsearch.search.limits import OtherDevice
from effsearch.search.progress import make_progress
from searchspace.narrowing import Narrowing
from searchspace.resolution import Resolution


def find(
    device: str | Path,
    budget_ms: float,
    *,
    task: str | None = None,
    seed: int = 0,
    space: str | Path | None = None,
    confidence: float | None = None,
    winners: int | None = None,
    consider: int | None = None,
    trials: int | None = None,
    proxy: str | None = None,
    blocks: Sequence[str] = (),
    stem_strides: Sequence[int] = (),
    resolutions: Sequence[Resolution] = (),
    max_params_m: float | None = None,
    max_macs_m: float | None = None,
    max_memory_mb: float | None = None,
    max_size_mb: float | None = None,
    also: Mapping[str, float] = MappingProxyType({}),
    watch: Sequence[str] = (),
    enqueue: Sequence[str | Path] = (),
    refine: int | None = None,
    data: str | Path | None = None,
    workers: int = 1,
    out: str | Path | None = None,
    progress: bool = False,
    **score_options: Any,
) -> Result:
    """Search the most accurate networks within a latency budget, as `effsearch run` does.

    Args:
        device: name of a latency table, or its file.
        budget_ms: latency not to exceed, in ms.
        task: `classification`, also where None, or `segmentation`.
        seed: of every random choice; the same seed gives the same result.
        space: name of a space, or its YAML file; the default one where None.
        confidence: probability with which a network has to stay within the budget; 0.8 where None.
        winners: how many to hand back; 5 where None.
        consider: networks to price and score, where the score adds up; a million where None.
        trials: candidates to record; 1,000 where None, 300 where the score is slow.
        proxy: name of the score source; `imagenet`, or `cityscapes`, where None.
        blocks: block types to keep of the space; all where empty.
        stem_strides: stem strides to keep of the space; all where empty.
        resolutions: resolutions to keep of the space, in px, each a side or (height, width); all
            where empty.
        max_params_m: parameters at most, in millions.
        max_macs_m: multiply-accumulates at most, in millions.
        max_memory_mb: activations alive at once at most, in millions of bytes.
        max_size_mb: weights at most, in millions of bytes.
        also: further devices with their budgets in ms, which hold too.
        watch: further devices whose latency is only reported.
        enqueue: what names networks of your own, to be considered too.
        refine: how many of the best to train on `data`, and rank by that.
        data: images: an ImageFolder tree or a zip of one.
        workers: processes. With more than one, a script needs the usual
            `if __name__ == "__main__":` around its work.
        out: run folder to make; a temporary one, which ends with the result, where None.
        progress: whether to show on stderr how far it is.
        score_options: further options of the score source, as the flags of `effsearch run`.

    Raises:
        UserError: where something asked for is wrong.
        NoArchitectureFitsError: where nothing meets the budget.
        WorkFailedError: where an export came out wrong, or worker processes died.
    """
    temporary = tempfile.TemporaryDirectory(prefix="effsearch-") if out is None else None
    folder = Path(temporary.name) / "run" if temporary is not None else Path(str(out))
    images = None if data is None else Path(data)
    arguments = RunArguments(
        score_flags={**score_options, "data": images},
        refining=RefineOptions(refine, images),
        out=folder,
        budget_ms=budget_ms,
        device=str(device),
        task=task,
        space=None if space is None else str(space),
        trials=trials,
        consider=consider,
        seed=seed,
        confidence=confidence,
        proxy=proxy,
        winners=winners,
        max_params_m=max_params_m,
        max_macs_m=max_macs_m,
        max_memory_mb=max_memory_mb,
        max_size_mb=max_size_mb,
        also=(*starmap(OtherDevice, also.items()), *map(OtherDevice, watch)),
        enqueue=tuple(Enqueued.read(str(target)) for target in enqueue),
        narrowing=Narrowing(tuple(blocks), tuple(stem_strides), tuple(resolutions)) or None,
        workers=workers,
    )
    if progress:
        run(start(arguments, say), make_progress(), say)
    else:
        run(start(arguments, _nothing))
    return Result(folder, temporary)


def _nothing(message: str) -> None:
    """Say nothing."""
