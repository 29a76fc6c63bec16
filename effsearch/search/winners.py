"""Which candidates to hand back: the best, different from each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from effsearch.search.candidates import Record
from searchspace import Architecture, SearchSpace

# How different winners have to be, tried one after another until there are enough winners; with
# the last, any two architectures are different enough.
DISTANCES = (0.4, 0.3, 0.2, 0.1, 0.0)
INACTIVE = -1  # code of an axis that a network does not have
_POOL = 1500  # best candidates looked at


def choose_winners(
    space: SearchSpace,
    records: Sequence[Record],
    count: int,
    accept: Callable[[Record], bool] = lambda record: True,
) -> list[Record]:
    """Return the best feasible candidates, each unlike those before it.

    Candidates are ranked by the lower bound of their score. The first winner is the best. The
    others are the best of another design (`design`) that differ most from the winners before them,
    as long as the score can't tell them from the best: their bound is less than one standard
    deviation below it. Errors of a score are alike for networks that are alike, so winners that
    differ are worth more than slightly better copies. Where there are too few such, other designs
    follow, and then the same ones again.

    Args:
        space: of the candidates.
        records: all that was evaluated.
        count: how many to return, fewer where not so many fit.
        accept: a last test, asked once for a candidate that would be taken: measures it, say.
    """
    # What anyone has without a search is no find: it is what winners are compared with.
    by_hand = {r.candidate.digest for r in records if r.candidate.by_hand}
    pool = [r for r in records if r.feasible and r.candidate.digest not in by_hand]
    pool.sort(key=lambda r: (-r.outcome.lower_bound, r.outcome.quantile_ms, r.number))
    if not pool:
        return []
    of_design: dict[tuple[object, ...], Record] = {}
    for record in pool:
        of_design.setdefault(design(record.candidate.architecture), record)
    best, designs = pool[0].outcome, list(of_design.values())
    floor = best.lower_bound - best.score_std
    chosen: list[Record] = []
    refused: set[str] = set()
    close = [r for r in designs if r.outcome.lower_bound >= floor]
    for tried, distances in ((close, DISTANCES[:-1]), (designs, DISTANCES[:-1]), (pool, DISTANCES)):
        _add(space, tried[:_POOL], count, distances, accept, chosen, refused)
    return sorted(chosen, key=pool.index)


def design(architecture: Architecture) -> tuple[object, ...]:
    """Return what a person would call a network's design: its stem and the blocks of each stage.

    Widths, depths and the options of blocks are left out.
    """
    stem = architecture.stem
    blocks = (tuple(block.type for block in stage.blocks) for stage in architecture.stages)
    return (stem.type, stem.stride, *blocks)


def _add(
    space: SearchSpace,
    pool: Sequence[Record],
    count: int,
    apart: Sequence[float],
    accept: Callable[[Record], bool],
    chosen: list[Record],
    refused: set[str],
) -> None:
    """Add to what is chosen: the best of a pool, best first, those first that differ most."""
    done = {r.candidate.digest for r in chosen} | refused
    pool = [*chosen, *(r for r in pool if r.candidate.digest not in done)]
    if len(pool) == len(chosen):
        return
    distances = _Distances(space, [r.candidate.architecture for r in pool])
    before = len(chosen)
    taken = list(range(before))
    for distance in apart:
        for index in range(before, len(pool)):
            record = pool[index]
            if len(chosen) == count:
                return
            if index in taken or record.candidate.digest in refused:
                continue
            if taken and distances.to_nearest(index, taken) <= distance:
                continue
            if accept(record):
                taken.append(index)
                chosen.append(record)
            else:
                refused.add(record.candidate.digest)


def difference(space: SearchSpace, first: Architecture, second: Architecture) -> float:
    """Return how different two members are, from 0 to 1.

    The mean of two shares: of the axes in which they differ (those active in one of them; an axis
    that is active in one alone differs), and of the blocks that would have to change type for both
    to have equal parts of each type.
    """
    return _Distances(space, [first, second]).to_nearest(0, [1])


class _Distances:
    def __init__(self, space: SearchSpace, networks: Sequence[Architecture]) -> None:
        self.codes = _codes(space, networks)
        self.types = _type_shares(networks)

    def to_nearest(self, index: int, others: Sequence[int]) -> float:
        codes, code = self.codes[list(others)], self.codes[index]
        active = (codes != INACTIVE) | (code != INACTIVE)
        axes = (codes != code).sum(1) / np.maximum(active.sum(1), 1)
        types = np.abs(self.types[list(others)] - self.types[index]).sum(1) / 2
        return float(((axes + types) / 2).min())


def _codes(space: SearchSpace, networks: Sequence[Architecture]) -> NDArray[np.int64]:
    """Return the networks' codes (n, axes); one outside of the space differs in every axis."""
    members = np.array([network in space for network in networks])
    codes = np.repeat(INACTIVE - 1 - np.arange(len(networks))[:, None], len(space.axes), axis=1)
    if members.any():
        inside = [n for n, member in zip(networks, members, strict=True) if member]
        codes[members] = space.encode(inside)
    return codes


def _type_shares(networks: Sequence[Architecture]) -> NDArray[np.float64]:
    """Return the share of each block type in every network's blocks, (n, types)."""
    counts = [
        Counter({b.type: 0 for stage in network.stages for b in stage.blocks})
        for network in networks
    ]
    for network, count in zip(networks, counts, strict=True):
        for stage in network.stages:
            for block in stage.blocks:
                count[block.type] += block.depth
    names = sorted({name for count in counts for name in count})
    table = np.array([[count[name] for name in names] for count in counts], float)
    shares: NDArray[np.float64] = table / table.sum(1, keepdims=True)
    return shares
