"""Zero-cost scores of a few finalists: a second opinion beside the score that found them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from effsearch.accuracy.zero_cost_source import NOTE, ZeroCost, combine, member_scores
from searchspace import Architecture


def second_opinion(networks: Mapping[str, Architecture], seed: int = 0) -> dict[str, Any]:
    """Return zero-cost scores of some networks, and their order by them.

    About a second a network on one core.

    Args:
        networks: by name.
        seed: of the images and the weights.
    """
    scale = ZeroCost(seed).scale
    rows: dict[str, dict[str, Any]] = {}
    for name, architecture in networks.items():
        members = member_scores(architecture, seed)
        mean, error = combine(members, scale)
        rows[name] = {"scores": members, "mean": mean, "standard_error": error}
    defined = [name for name, row in rows.items() if row["mean"] == row["mean"]]
    return {
        "networks": rows,
        "order": sorted(defined, key=lambda name: -rows[name]["mean"]),
        "unit": ZeroCost.unit,
        "kind": ZeroCost.kind,
        "note": NOTE,
    }
