"""The resolutions that a table's prices rest on, and what to say of networks beyond them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from searchspace import SearchSpace
from searchspace.resolution import Resolution, height_width, resolution_text
from searchspace.space import space_names

_USUAL_PX = 288  # the most that the default space has, of which kits are


def largest_side_px(meta: Mapping[str, Any]) -> float | None:
    """Return the greatest side of the images of the networks that a table was made of.

    That of a square of as many pixels; None where the table does not say.

    Args:
        meta: what the table says of itself.
    """
    stated = meta.get("form", {}).get("max_resolution")
    if stated is not None:
        return float(stated)
    space = meta.get("profile", {}).get("space")
    return _largest_of(space) if space in space_names() else None


@lru_cache
def _largest_of(space: str) -> float:
    return max(map(_side, SearchSpace.load(space).spec.resolution))


def scope_note(name: str, meta: Mapping[str, Any], resolution: Resolution) -> str:
    """Return what to keep in mind of a latency at a resolution; empty where nothing.

    Args:
        name: of the table.
        meta: what it says of itself.
        resolution: of a network that it prices.
    """
    largest, at = largest_side_px(meta), resolution_text(resolution)
    if _side(resolution) <= (largest or _USUAL_PX):
        return ""
    if largest is None:
        return (
            f"The table {name} does not say at what resolutions its networks were: latencies at "
            f"{at} may be extrapolated from smaller ones, and lie far off. Measure the winners "
            "before you rely on them."
        )
    return (
        f"The table {name} rests on networks at {largest:g} px or less: latencies at {at} are "
        "extrapolated from these, the stated error does not hold for them, and the true ones may "
        "lie far off. Measure the winners before you rely on them."
    )


def _side(resolution: Resolution) -> float:
    return math.sqrt(math.prod(height_width(resolution)))
