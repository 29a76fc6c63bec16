"""`load_source`: the score sources by name."""

from __future__ import annotations

import difflib
from typing import Any

from effsearch.accuracy.counted import Counted
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.accuracy.options import SUPERNET, SupernetOptions
from effsearch.accuracy.score import LOWER_BOUND_CONFIDENCE, Score, ScoreSource, Z
from effsearch.accuracy.trained.source import SCALES, TrainedEstimate
from searchspace.errors import UserError

__all__ = [
    "DEFAULT",
    "LOWER_BOUND_CONFIDENCE",
    "NAMES",
    "Score",
    "ScoreSource",
    "Z",
    "load_source",
]

DEFAULT = "imagenet"
NAMES = (DEFAULT, *SCALES, "zero-cost", SUPERNET, *Counted.UNITS)


def load_source(
    name: str = DEFAULT, supernet: SupernetOptions | None = None, **options: Any
) -> ScoreSource:
    """Return a score source.

    Args:
        name: one of `NAMES`.
        supernet: what `supernet` needs; None for the others.
        options: of the source; only `zero-cost` has some, see `ZeroCost`.

    Raises:
        UserError: where there is none of that name, or it has no such option.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(NAMES)}"
        raise UserError(f"{name}: no such score source; {hint}")
    if name == SUPERNET:
        if supernet is None:
            raise UserError(
                "supernet: needs a checkpoint and images (--checkpoint FILE --data DIR)"
            )
        from effsearch.accuracy.supernet_source import SupernetScore

        return SupernetScore(supernet)
    if supernet is not None:
        raise UserError(f"{name}: takes no supernet")
    if name == "zero-cost":
        # Imports torch's tracing tools, which the others don't need.
        from effsearch.accuracy.zero_cost_source import ZeroCost

        try:
            return ZeroCost(**options)
        except TypeError as error:
            raise UserError(f"zero-cost: {error}") from None
    if options:
        raise UserError(f"{name}: takes no options, got {', '.join(options)}")
    if name in SCALES:
        return TrainedEstimate.load(name)
    return ImagenetEstimate.load() if name == DEFAULT else Counted(name)
