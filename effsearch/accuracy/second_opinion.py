"""Zero-cost scores of a few finalists: a second opinion beside the score that found them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from effsearch.accuracy.zero_cost_source import NOTE, ZeroCost, combine, member_scores
from searchspace import Architecture


def second_opinion(
    networks: Mapping[str, Architecture], seed: int = 0, apply: Callable[..., Iterable[Any]] = map
) -> dict[str, Any]:
    """Return zero-cost scores of some networks, and their order by them.

    About a second a network on one core. A score that is not defined is None.

    Args:
        networks: by name.
        seed: of the images and the weights.
        apply: calls a function for each of some arguments, as `map` does.
    """
    scale = ZeroCost(seed).scale
    rows: dict[str, dict[str, Any]] = {}
    found = apply(member_scores, networks.values(), [seed] * len(networks))
    for name, members in zip(networks, found, strict=True):
        mean, error = combine(members, scale)
        rows[name] = {
            "scores": {score: _defined(value) for score, value in members.items()},
            "mean": _defined(mean),
            "standard_error": _defined(error),
        }
    defined = [name for name, row in rows.items() if row["mean"] is not None]
    return {
        "networks": rows,
        "order": sorted(defined, key=lambda name: -rows[name]["mean"]),
        "unit": ZeroCost.unit,
        "kind": ZeroCost.kind,
        "note": NOTE,
    }


def _defined(value: float) -> float | None:
    # JSON has no NaN: strict readers would refuse the whole file.
    return value if math.isfinite(value) else None
