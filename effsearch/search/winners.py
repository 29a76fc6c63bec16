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
_POOL = 1500  # best candidates looked at


def choose_winners(
    space: SearchSpace,
    records: Sequence[Record],
    count: int,
    accept: Callable[[Record], bool] = lambda record: True,
) -> list[Record]:
    """Return the best feasible members, each unlike those before it.

    Candidates are ranked by the lower bound of their score. The first winner is the best. The
    others are the best of those that differ most from the winners before them, as long as the
    score can't tell them from the best: their bound is less than one standard deviation below it.
    Errors of a score are alike for networks that are alike, so winners that differ are worth more
    than slightly better copies. Where there are too few such, the others follow.

    Args:
        space: of the candidates.
        records: all that was evaluated.
        count: how many to return, fewer where not so many fit.
        accept: a last test, asked once for a candidate that would be taken: measures it, say.
    """
    # A published network is no find: it is the baseline.
    published = {r.candidate.digest for r in records if r.candidate.reference}
    pool = [r for r in records if r.feasible and r.candidate.digest not in published]
    pool.sort(key=lambda r: (-r.outcome.lower_bound, r.outcome.quantile_ms, r.number))
    pool = pool[:_POOL]
    if not pool:
        return []
    networks = [r.candidate.architecture for r in pool]
    distances = _Distances(space, networks)
    best = pool[0].outcome
    close = sum(r.outcome.lower_bound >= best.lower_bound - best.score_std for r in pool)
    chosen: list[int] = []
    refused: set[int] = set()
    for size in (close, len(pool)):
        for distance in DISTANCES:
            for index in range(size):
                if len(chosen) == count:
                    break
                if index in chosen or index in refused:
                    continue
                if chosen and distances.to_nearest(index, chosen) <= distance:
                    continue
                if accept(pool[index]):
                    chosen.append(index)
                else:
                    refused.add(index)
    return [pool[i] for i in sorted(chosen)]


def difference(space: SearchSpace, first: Architecture, second: Architecture) -> float:
    """Return how different two members are, from 0 to 1.

    The mean of two shares: of the axes in which they differ (those active in one of them; an axis
    that is active in one alone differs), and of the blocks that would have to change type for both
    to have equal parts of each type.
    """
    return _Distances(space, [first, second]).to_nearest(0, [1])


class _Distances:
    def __init__(self, space: SearchSpace, networks: Sequence[Architecture]) -> None:
        self.codes = space.encode(networks)
        self.types = _type_shares(networks)

    def to_nearest(self, index: int, others: Sequence[int]) -> float:
        codes, code = self.codes[list(others)], self.codes[index]
        active = (codes >= 0) | (code >= 0)
        axes = (codes != code).sum(1) / np.maximum(active.sum(1), 1)
        types = np.abs(self.types[list(others)] - self.types[index]).sum(1) / 2
        return float(((axes + types) / 2).min())


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
