"""Which of a population survive: the best within the limits, and the front below them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from effsearch.search.considering.assessment import Population
from effsearch.search.pareto import non_dominated

Indices = NDArray[np.intp]


def survivors(population: Population, size: int, designs: NDArray[np.uint64], most: int) -> Indices:
    """Return the rows that survive, those with the best scores first.

    Half are there for their score, no more than `most` of one design, so that no basin takes all;
    half for the front (non-dominated sorting, as in Deb et al., NSGA-II, 2002). Where few meet the
    limits, those come next that exceed them least.

    Args:
        population: to choose from.
        size: how many survive.
        designs: hash of what makes a network another design, (n,).
        most: of one design among the first half.
    """
    fits = np.flatnonzero(population.feasible)
    order = fits[np.lexsort((population.hashes[fits], -population.lower_bound[fits]))]
    elites = order[occurrences(designs[order]) < most][: size // 2]
    left = np.setdiff1d(order, elites, assume_unique=True)
    chosen = [elites]
    room = size - len(elites)
    while room > 0 and len(left):
        lower, cost = population.lower_bound[left], population.quantile_ms[left]
        level = non_dominated(lower, cost)
        if len(level) > room:
            level = level[np.linspace(0, len(level) - 1, room).astype(int)]
        chosen.append(left[level])
        room -= len(level)
        left = np.delete(left, level)
    if room > 0:
        others = np.flatnonzero(~population.feasible & np.isfinite(population.violation))
        nearest = np.lexsort((population.hashes[others], population.violation[others]))
        chosen.append(others[nearest[:room]])
    return np.concatenate(chosen)


def occurrences(values: NDArray[np.uint64] | NDArray[np.int64]) -> Indices:
    """Return how often each value occurs before its place."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    begins = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    sizes = np.diff(np.append(begins, len(values)))
    counts = np.empty(len(values), np.intp)
    counts[order] = np.arange(len(values)) - np.repeat(begins, sizes)
    return counts
