"""What anyone has without a search: published networks, and these scaled by hand."""

from __future__ import annotations

from collections.abc import Sequence

from effsearch.search.candidates import SCALED, Record
from searchspace import Architecture
from searchspace.schema import BLOCKS, FAMILIES


def best_published(records: Sequence[Record]) -> Record | None:
    """Return the best-scoring published network that meets the limits."""
    fits = [r for r in records if r.candidate.reference and r.feasible]
    return max(fits, key=lambda r: r.outcome.score, default=None)


def best_scaled(records: Sequence[Record]) -> Record | None:
    """Return the network that scaling a published family by hand would give.

    Of those that meet the limits, published ones among them, the best by what winners are ranked
    by: the lower bound of the score.
    """
    fits = [r for r in records if r.candidate.by_hand and r.feasible]
    best = max(fits, key=lambda r: (r.outcome.lower_bound, -r.number), default=None)
    return best if best is not None and any(r.candidate.origin == SCALED for r in fits) else None


def best_of_families(records: Sequence[Record]) -> dict[str, Record]:
    """Return the best network within the limits whose blocks are all of one family, by family."""
    best: dict[str, Record] = {}
    for record in records:
        families = families_of(record.candidate.architecture)
        if not record.feasible or len(families) != 1:
            continue
        held = best.get(families[0])
        if held is None or record.outcome.lower_bound > held.outcome.lower_bound:
            best[families[0]] = record
    order = [*FAMILIES, *sorted(set(best) - set(FAMILIES))]
    return {name: best[name] for name in order if name in best}


def families_of(architecture: Architecture) -> list[str]:
    """Return the families of a network's blocks, that with most blocks first."""
    counts: dict[str, int] = {}
    for stage in architecture.stages:
        for block in stage.blocks:
            family = BLOCKS[block.type].family
            counts[family] = counts.get(family, 0) + block.depth
    return sorted(counts, key=lambda name: -counts[name])
