"""Dominance among candidates: score up, latency down, limits first (Deb et al., NSGA-II, 2002)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from effsearch.search.candidates import Record

Indices = NDArray[np.intp]


def non_dominated(scores: NDArray[np.float64], costs: NDArray[np.float64]) -> Indices:
    """Return the indices of the front, cheapest first: no other is as cheap and scores more.

    Args:
        scores: (n,), higher is better.
        costs: (n,), lower is better.
    """
    order = np.lexsort((-scores, costs))
    ranked = scores[order]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(ranked)[:-1]])
    return order[ranked > best_before]


def front(records: Sequence[Record]) -> list[Record]:
    """Return the front of the feasible members of the space, fastest first.

    Published networks are what the front is compared with, and no part of it.
    """
    pool = [r for r in records if r.feasible and not r.candidate.reference]
    if not pool:
        return []
    scores = np.array([r.outcome.lower_bound for r in pool])
    costs = np.array([r.outcome.quantile_ms for r in pool])
    return [pool[int(i)] for i in non_dominated(scores, costs)]


def survivors(records: Sequence[Record], size: int) -> tuple[list[Record], list[float]]:
    """Return the best records in NSGA-II's order, with what they are compared by in tournaments.

    Feasible before infeasible; the feasible by front, then by how far the others on it are; the
    infeasible by how much they exceed the limits.

    Returns:
        Up to `size` records, and a rank for each: lower is better.
    """
    feasible = [r for r in records if r.feasible]
    chosen: list[Record] = []
    ranks: list[float] = []
    scores = np.array([r.outcome.lower_bound for r in feasible])
    costs = np.array([r.outcome.quantile_ms for r in feasible])
    left = np.arange(len(feasible))
    level = 0
    while len(left) and len(chosen) < size:
        on_front = non_dominated(scores[left], costs[left])
        members = left[on_front]
        distance = _crowding(scores[members], costs[members])
        lonely_first = np.argsort(-distance, kind="stable")
        for position, index in enumerate(lonely_first[: size - len(chosen)]):
            chosen.append(feasible[int(members[index])])
            ranks.append(level + position / len(members))
        left = np.delete(left, on_front)
        level += 1
    if len(chosen) < size:
        others = [r for r in records if not r.feasible and not r.failed]
        others.sort(key=lambda r: (r.violation, r.number))
        for position, record in enumerate(others[: size - len(chosen)]):
            chosen.append(record)
            ranks.append(level + 1 + position)
    return chosen, ranks


def hypervolume(
    scores: Sequence[float], costs: Sequence[float], score: float, cost: float
) -> float:
    """Return the area that the points dominate, up to a reference point.

    Args:
        scores: of the points.
        costs: of the points.
        score: least score that counts.
        cost: highest cost that counts.
    """
    s, c = np.asarray(scores, float), np.asarray(costs, float)
    inside = (s > score) & (c < cost)
    s, c = s[inside], c[inside]
    area, last = 0.0, score
    for index in non_dominated(s, c):
        area += (s[index] - last) * (cost - c[index])
        last = s[index]
    return float(area)


def _crowding(scores: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return crowding distances of a front that is sorted by cost."""
    count = len(scores)
    if count <= 2:
        return np.full(count, np.inf)
    distance = np.zeros(count)
    for values in (scores, costs):
        spread = abs(values[-1] - values[0]) or 1.0
        distance[1:-1] += np.abs(values[2:] - values[:-2]) / spread
    distance[[0, -1]] = np.inf
    return distance
