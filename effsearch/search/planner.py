"""Which candidates to evaluate next: a function of the seed and of what was found so far.

Optuna's samplers were tried first (`results.search.benchmark samplers`, results/search): in this
space of axes that depend on each other, NSGA-II (Deb et al., 2002) with the space's own mutation
and crossover finds better networks in as many trials, and plans them in a fraction of the time.
So it runs here, a batch at a time, and Optuna keeps the study. Nothing is remembered between
batches, so that an interrupted run continues as if it never was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

import numpy as np

from effsearch.search.candidates import (
    ENUMERATED,
    EVOLVED,
    NEAREST,
    NEIGHBOUR,
    OWN,
    PUBLISHED,
    SAMPLED,
    Candidate,
    Record,
)
from effsearch.search.parameters import enumerate_space
from effsearch.search.pareto import survivors
from effsearch.search.references import published_backbones, references
from searchspace import Architecture, SearchSpace
from searchspace.variation import Codes, Rows, Variation

INITIAL = 400
BATCH = 100
PARENTS = 60
ELITES = 20  # parents that are there for their score alone
IMMIGRANTS = 0.05  # share of a batch that is drawn at random
CROSSOVER = 0.6
_MUTATED = 0.7  # share of the crossed that are mutated too
_MOST_CHANGES = 6
# With nothing within the limits after this many, only the way down is searched.
PATIENCE = 1200
_TRIES = 30  # draws for each candidate wanted, before a batch stays smaller


class Planner:
    """Plans batches of new candidates.

    Attributes:
        space: what may be built.
        seed: of every random choice.
        trials: candidates in all.
        outsiders: whether published networks outside of the space are candidates too.
        starts: members that the first batch begins with, behind the published networks.
        own: networks that the first batch begins with, before all others.
        initial: size of the first batch at least.
        batch: of those that follow.
        lag: batches that may be under way when another is planned.
    """

    initial = INITIAL
    batch = BATCH
    lag = 0

    def __init__(
        self,
        space: SearchSpace,
        seed: int,
        trials: int,
        outsiders: bool = True,
        starts: Sequence[Candidate] = (),
        own: Sequence[Candidate] = (),
    ) -> None:
        self.space = space
        self.seed = seed
        self.trials = trials
        self.outsiders = outsiders
        self.starts = starts
        self.own = own
        self.exhaustive = space.size() <= trials
        self.variation = Variation(space)
        self._encoded: dict[str, Codes] = {}

    def plan(
        self, batch: int, records: Sequence[Record], pending: Sequence[Candidate] = ()
    ) -> list[Candidate]:
        """Return the candidates of a batch; none where there is nothing left to try.

        Args:
            batch: its number.
            records: everything that earlier batches found, in order.
            pending: what was planned and is not found yet.
        """
        room = self.trials - len(records) - len(pending)
        if room <= 0:
            return []
        seen = {r.candidate.digest for r in records} | {c.digest for c in pending}
        rng = np.random.default_rng([self.seed, batch])
        if batch == 0:
            known = [c for c in published(self.space) if c.member or self.outsiders]
            known = first_new(chain(self.own, known), seen, len(self.own) + len(known))
            known += first_new(iter(self.starts), {c.digest for c in known}, len(self.starts))
            first = known[: self.trials]
            if self.exhaustive:
                return first
            seen |= {c.digest for c in first}
            count = min(self.initial - len(known), self.trials - len(first))
            return first + self.sampled(rng, seen, count)
        if self.exhaustive:
            everything = (Candidate(a, ENUMERATED) for a in enumerate_space(self.space))
            return first_new(everything, seen, min(self.batch, room))
        if len(records) >= PATIENCE and not any(r.feasible for r in records):
            return self._descent(records, seen)[:room]
        return self.evolved(rng, records, seen, min(self.batch, room), pending)

    def sampled(self, rng: np.random.Generator, seen: set[str], count: int) -> list[Candidate]:
        """Return up to `count` unseen random members."""
        draws = (Candidate(self.space.sample(rng), SAMPLED) for _ in range(_TRIES * count))
        return first_new(draws, seen, count)

    def _descent(self, records: Sequence[Record], seen: set[str]) -> list[Candidate]:
        """All unseen neighbours of the candidate nearest to the limits: ends in a local optimum."""
        members = [r for r in records if r.candidate.member and not r.failed]
        if not members:
            return []
        best = min(members, key=lambda r: (r.violation, r.number))
        around = self.space.neighbours(best.candidate.architecture)
        return first_new((Candidate(a, NEIGHBOUR) for a in around), seen, self.trials)

    def evolved(
        self,
        rng: np.random.Generator,
        records: Sequence[Record],
        seen: set[str],
        count: int,
        pending: Sequence[Candidate] = (),
    ) -> list[Candidate]:
        """Return up to `count` unseen children of the best records; random ones without any."""
        members = [r for r in records if r.candidate.member and not r.failed]
        if not members:
            return self.sampled(rng, seen, count)

        def made() -> Iterator[Candidate]:
            for _ in range(_TRIES):
                yield from self.decoded(*self.children(rng, members, self.batch))

        return first_new(made(), seen, count)

    def children(
        self, rng: np.random.Generator, members: Sequence[Record], count: int
    ) -> tuple[Codes, Rows]:
        """Return children of the best of some members (n, axes), and which are strangers (n,).

        Strangers are random members of the space.
        """
        population, order = survivors(members, PARENTS)
        elites = sorted(
            (r for r in members if r.feasible),
            key=lambda r: (-r.outcome.lower_bound, r.number),
        )[:ELITES]
        codes = self.encoded([r.candidate for r in [*population, *elites]])
        ranks = np.array(order)

        def parents() -> Codes:
            a, b = rng.integers(len(population), size=(2, count))
            rows = np.where(ranks[a] <= ranks[b], a, b)
            if elites:
                best = len(population) + rng.integers(len(elites), size=count)
                rows = np.where(rng.random(count) < 0.5, best, rows)
            chosen: Codes = codes[rows]
            return chosen

        first, second = parents(), parents()
        crossed = rng.random(count) < CROSSOVER
        mixed = self.variation.crossover(first, second, rng)
        mutated = ~crossed | (rng.random(count) < _MUTATED)
        changes = np.where(mutated, np.minimum(_MOST_CHANGES, rng.geometric(0.5, count)), 0)
        made = np.where(crossed[:, None], mixed, first)
        made = self.variation.mutate(made, changes, rng)
        strangers: Rows = rng.random(count) < IMMIGRANTS
        made[strangers] = self.variation.sample(int(strangers.sum()), rng)
        return made, strangers

    def encoded(self, candidates: Sequence[Candidate]) -> Codes:
        """Return the codes of members, (n, axes)."""
        new = {c.digest: c.architecture for c in candidates if c.digest not in self._encoded}
        self._encoded.update(zip(new, self.space.encode(list(new.values())), strict=True))
        rows = [self._encoded[c.digest] for c in candidates]
        return np.array(rows, np.int16).reshape(len(rows), len(self.space.axes))

    def decoded(self, codes: Codes, strangers: Rows) -> Iterator[Candidate]:
        """Yield the candidates of codes; of strangers and of others by their origin."""
        for code, stranger in zip(codes, strangers, strict=True):
            yield Candidate(self.space.decode(code), SAMPLED if stranger else EVOLVED)


def published(space: SearchSpace) -> Iterator[Candidate]:
    """Yield the published networks, then the members of the space that are most like them.

    Members like published backbones of another task follow.
    """
    networks = references(space)
    for name, network in networks.items():
        yield Candidate(network, PUBLISHED, name, member=network in space)
    for name, network in (networks | published_backbones(space)).items():
        yield Candidate(space.nearest(network), NEAREST, name)


def enqueued(space: SearchSpace, networks: Sequence[Architecture]) -> list[Candidate]:
    """Return networks of a person's own as candidates; a published one stays what it is."""
    known = {c.digest: c for c in published(space) if c.reference}
    own = (Candidate(n, OWN, n.name, member=n in space) for n in networks)
    return [known.get(candidate.digest, candidate) for candidate in own]


def first_new(candidates: Iterator[Candidate], seen: set[str], count: int) -> list[Candidate]:
    """Return up to `count` candidates that were not seen before."""
    known = set(seen)
    found: list[Candidate] = []
    if count <= 0:
        return found
    for candidate in candidates:
        if candidate.digest not in known:
            known.add(candidate.digest)
            found.append(candidate)
            if len(found) == count:
                break
    return found
