"""`consider`: an evolutionary search over populations that considers very many networks.

Several islands evolve apart, each from another beginning: one for the scalings of each published
family, one for all of them, one from random networks. Their best then meet, with sizes in finer
steps, and the best of all are polished by local search (the islands: Whitley et al., "The island
model genetic algorithm", 1999; the polishing: Lourenço et al., "Iterated local search", 2003).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from effsearch.search.considering.assessment import Array, Assessor, Population, joined
from effsearch.search.considering.families import MIXED, Families
from effsearch.search.considering.islands import SIZE, Islands
from effsearch.search.considering.polish import Polish
from effsearch.search.considering.selection import Indices, occurrences
from effsearch.search.pareto import non_dominated
from searchspace.variation import Codes, Variation

APART = 0.5  # share of the networks that are considered by then
TOGETHER = 0.8  # share that is considered when polishing begins
POLISHED = 8  # networks that are
PATIENCE = 20  # turns of each without a new network, before polishing ends
NEAREST = 50
OF_EACH_FAMILY = 3  # best networks kept whose blocks are of one family alone


@dataclass(frozen=True)
class Point:
    """How far a search was at some time.

    Attributes:
        considered: different networks so far.
        scores: lower bounds of the front's scores.
        costs: the front's latencies.
    """

    considered: int
    scores: Array
    costs: Array


@dataclass(frozen=True)
class Considered:
    """What came out.

    Attributes:
        number: how many different networks were considered.
        best: the best of them that meet the limits, of different designs first; in no order.
        families: the best that have blocks of one family alone, in no order.
        front: those that no other beats in score and latency, fastest first.
        sampled: a uniform random sample of all.
        nearest: where nothing meets the limits, those that exceed them least.
        progress: now and then.
    """

    number: int
    best: Population
    families: Population
    front: Population
    sampled: Population
    nearest: Population
    progress: list[Point]


class _Seen:
    """Counts different networks, and keeps what is worth recording."""

    def __init__(
        self, assessor: Assessor, variation: Variation, limit: int, sampled: int, elites: int
    ) -> None:
        self._assessor, self._variation = assessor, variation
        self.limit, self._sample_size, self._elites = limit, sampled, elites
        self._family = Families(variation.space)
        self._hashes: set[int] = set()
        self._nothing = Population.nobody(len(variation.space.axes))
        self.best = self.families = self.front = self.sampled = self.nearest = self._nothing

    @property
    def number(self) -> int:
        return len(self._hashes)

    def assess(self, codes: Codes) -> tuple[Population, Indices]:
        """Return what is known of those networks that are new, as far as there is room.

        Args:
            codes: (n, axes).

        Returns:
            The new ones, (m,), and which rows they are, (m,).
        """
        hashes = self._variation.hashes(codes)
        _, first = np.unique(hashes, return_index=True)
        first.sort()
        known = self._hashes
        pairs = zip(first.tolist(), hashes[first].tolist(), strict=True)
        new = [row for row, value in pairs if value not in known]
        rows = np.array(new[: self.limit - len(known)], np.intp)
        if not len(rows):
            return self._nothing, rows
        found = self._assessor(codes[rows])
        known.update(found.hashes.tolist())
        self._keep(found)
        return found, rows

    def _keep(self, found: Population) -> None:
        fits = found.take(found.feasible)
        if len(fits):
            pool = joined([self.front, fits])
            self.front = pool.take(non_dominated(pool.lower_bound, pool.quantile_ms))
            self.best = self._best(joined([self.best, fits]))
            pure = fits.take(self._family(fits.codes) != MIXED)
            self.families = self._of_families(joined([self.families, pure]))
        elif not len(self.best):
            pool = joined([self.nearest, found])
            order = np.lexsort((pool.hashes, pool.violation))
            self.nearest = pool.take(order[:NEAREST])
        # The hash is as good as a random number: the least are a uniform sample.
        pool = joined([self.sampled, found])
        self.sampled = pool.take(np.arange(min(self._sample_size, len(pool))))

    def _best(self, pool: Population) -> Population:
        """Return the best of each design, of the best designs; then the best of all."""
        count = self._elites
        if len(pool) <= count:
            return pool
        order = np.lexsort((pool.hashes, -pool.lower_bound))
        again = occurrences(self._variation.designs(pool.codes[order]))
        rank = np.argsort(again >= 2, kind="stable")[: count // 2]
        rest = np.setdiff1d(np.arange(count), rank)[: count - len(rank)]
        return pool.take(order[np.concatenate([rank, rest])])

    def _of_families(self, pool: Population) -> Population:
        """Return the best of each family."""
        order = np.lexsort((pool.hashes, -pool.lower_bound))
        rank = occurrences(self._family(pool.codes[order]))
        return pool.take(order[rank < OF_EACH_FAMILY])


def consider(
    assessor: Assessor,
    coarse: Variation,
    medium: Variation,
    fine: Variation,
    beginnings: Sequence[Codes],
    number: int,
    sampled: int,
    elites: int,
    seed: int,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, float], None] = lambda number, best: None,
) -> Considered | None:
    """Consider networks and return what is worth recording.

    Args:
        assessor: prices and scores.
        coarse: makes networks while islands are apart.
        medium: while they are together.
        fine: while the best are polished.
        beginnings: what each island begins with.
        number: of different networks to consider.
        sampled: size of the uniform sample.
        elites: how many of the best to keep, at least 2.
        seed: of every random choice; the result depends on nothing else.
        stop: asked several times a second whether to end early.
        tell: told how many were considered, and the best lower bound.

    Returns:
        What was considered; None where `stop` said so.
    """
    rng = np.random.default_rng([seed, 0xC0])
    seen = _Seen(assessor, fine, number, sampled, elites)
    progress: list[Point] = []

    def note() -> bool:
        front = seen.front
        progress.append(Point(seen.number, front.lower_bound, front.quantile_ms))
        tell(seen.number, float(front.lower_bound.max(initial=-np.inf)))
        return stop()

    known, _ = seen.assess(np.concatenate(beginnings))
    if note():
        return None
    begun = []
    for begin in beginnings:
        own = np.flatnonzero(np.isin(known.hashes, fine.hashes(begin)))
        near = own[np.argsort(known.violation[own], kind="stable")[:SIZE]]
        rounded, _ = seen.assess(coarse.rounded(known.codes[near], rng))
        begun.append(joined([rounded, known.take(near)]))
    islands = Islands(coarse, [population for population in begun if len(population)], rng)
    for share in (APART, TOGETHER):
        if share == TOGETHER:
            everyone = joined(islands.populations)
            islands = Islands(medium, [everyone, everyone], rng)
        before = -1
        while before < seen.number < share * number:
            before = seen.number
            children, owners = islands.children()
            found, rows = seen.assess(children)
            islands.take(found, owners[rows])
            if note():
                return None
    climbers = _climbers(fine, seen.best, rng)
    idle = 0  # turns in a row without a new network
    while climbers and seen.number < number and idle < PATIENCE * len(climbers):
        for climber in climbers:
            before = seen.number
            climber.take(seen.assess(climber.proposals())[0])
            idle = 0 if seen.number > before else idle + 1
            if note():
                return None
    kept = seen.best, seen.families, seen.front, seen.sampled, seen.nearest
    return Considered(seen.number, *kept, progress)


def _climbers(variation: Variation, best: Population, rng: np.random.Generator) -> list[Polish]:
    """Return local searches from the best networks of different designs."""
    order = np.lexsort((best.hashes, -best.lower_bound))
    first = order[occurrences(variation.designs(best.codes[order])) == 0][:POLISHED]
    return [Polish(variation, best.codes[i], float(best.lower_bound[i]), rng) for i in first]
