"""Which candidates to hand back: the best, different from each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from effsearch.search.records import Record
from searchspace import SearchSpace

# Shares of the axes in which winners have to differ, tried one after another until there are
# enough winners; with the last, any two architectures are different enough.
DISTANCES = (0.4, 0.3, 0.2, 0.1, 0.0)
_POOL = 1500  # best candidates looked at


def choose_winners(
    space: SearchSpace,
    records: Sequence[Record],
    count: int,
    accept: Callable[[Record], bool] = lambda record: True,
) -> list[Record]:
    """Return the best feasible members, each unlike those before it.

    A candidate is ranked by the lower bound of its score. It is taken where it differs from every
    winner so far in enough axes; where that leaves too few, less is asked.

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
    codes = space.encode([r.candidate.architecture for r in pool])
    chosen: list[int] = []
    verdicts: dict[int, bool] = {}
    for distance in DISTANCES:
        for index in range(len(pool)):
            if len(chosen) == count:
                break
            if index in chosen or verdicts.get(index) is False:
                continue
            if any(axis_distance(codes[index], codes[i]) <= distance for i in chosen):
                continue
            if index not in verdicts:
                verdicts[index] = accept(pool[index])
            if verdicts[index]:
                chosen.append(index)
    return [pool[i] for i in sorted(chosen)]


def axis_distance(first: NDArray[np.int16], second: NDArray[np.int16]) -> float:
    """Return the share of axes in which two encoded architectures differ.

    Only axes that are active in one of them count; an axis that is active in one alone differs.
    """
    active = (first >= 0) | (second >= 0)
    total = int(active.sum())
    return float((first != second).sum() / total) if total else 0.0
