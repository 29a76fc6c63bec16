"""`GuidedPlanner`: for slow scores, plans what may add most to the front."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from effsearch.search.candidates import Candidate, Record
from effsearch.search.planner import Planner
from effsearch.search.surrogate import MAX_SCORED, Array, Surrogate, features, most_promising
from searchspace import Architecture, SearchSpace

INITIAL = 30  # candidates before the first that is learnt from others, behind those given
BATCH = 10
_POOL = 400  # children that are looked at for each batch
_DRAWS = 20  # random members that are looked at for each one taken: latency is free

Screen = Callable[[Sequence[Architecture]], Array]


class GuidedPlanner(Planner):
    """Plans few candidates at a time, each for what it may add to the front.

    Random members and the children of the best (`Planner`) are looked at in numbers; of those
    within the limits the ones are taken whose score, at one deviation above what a Gaussian process
    of the scores so far expects (`Surrogate`), would add most to the front of score and latency.

    Args:
        space: what may be built.
        seed: of every random choice.
        trials: candidates in all.
        screen: what is free to know of n members (n, k): by how much they exceed the limits, 0 for
            those that meet them; latencies in ms; then what else may tell their scores.
        budget_ms: highest latency; None for no limit, and score alone where all latencies are 0.
        outsiders: whether published networks outside of the space are candidates too.
        starts: members that the first batch begins with, behind the published networks.
        own: networks that the first batch begins with, before all others.
    """

    initial = INITIAL
    batch = BATCH

    def __init__(
        self,
        space: SearchSpace,
        seed: int,
        trials: int,
        screen: Screen,
        budget_ms: float | None,
        outsiders: bool = True,
        starts: Sequence[Candidate] = (),
        own: Sequence[Candidate] = (),
    ) -> None:
        super().__init__(space, seed, trials, outsiders, starts, own)
        self._screen, self._budget_ms = screen, budget_ms
        self._screened: dict[str, Array] = {}

    def evolved(
        self, rng: np.random.Generator, records: Sequence[Record], seen: set[str], count: int
    ) -> list[Candidate]:
        """Return up to `count` unseen children of the best records that may add most."""
        scored = _informative(records)
        if len(scored) < 2:
            return self.sampled(rng, seen, count)
        held = [record.candidate for record in scored]
        pool = super().evolved(rng, records, seen, _POOL)
        known, free = self._free(held), self._free(pool)
        budget = self._budget_ms or 1.001 * float(max(known[:, 1].max(), free[:, 1].max()))
        fits = np.flatnonzero(free[:, 0] <= 0)
        if len(fits) == 0:
            return [pool[i] for i in np.argsort(free[:, 0], kind="stable")[:count]]
        scores = np.array([r.outcome.lower_bound for r in scored])
        surrogate = Surrogate(features(self.space, _networks(held), known[:, 1:]), scores)
        chances = [pool[i] for i in fits]
        mean, std = surrogate.predict(features(self.space, _networks(chances), free[fits, 1:]))
        hoped = mean + std
        order = np.argsort(-hoped, kind="stable")
        inside = known[:, 0] <= 0
        if budget > 0 and inside.any():
            front = scores[inside], known[inside, 1]
            first = most_promising(hoped, free[fits, 1], front, 1.001 * budget, count)
            order = np.concatenate([first, order[~np.isin(order, first)]]).astype(np.intp)
        return [chances[i] for i in order[:count]]

    def sampled(self, rng: np.random.Generator, seen: set[str], count: int) -> list[Candidate]:
        """Return the first random members of many that are within the limits, or nearest to it."""
        if self._budget_ms is None or count <= 0:
            return super().sampled(rng, seen, count)
        drawn = super().sampled(rng, seen, _DRAWS * count)
        return [drawn[i] for i in np.argsort(self._free(drawn)[:, 0], kind="stable")[:count]]

    def _free(self, candidates: Sequence[Candidate]) -> Array:
        """Return what the screen says, (n, k)."""
        new = {c.digest: c.architecture for c in candidates if c.digest not in self._screened}
        if new:
            self._screened.update(zip(new, self._screen(list(new.values())), strict=True))
        return np.array([self._screened[c.digest] for c in candidates])


def _networks(candidates: Sequence[Candidate]) -> list[Architecture]:
    return [candidate.architecture for candidate in candidates]


def _informative(records: Sequence[Record]) -> list[Record]:
    """Return the members that a surrogate is fitted to: the best, where there are many."""
    scored = [r for r in records if r.candidate.member and not r.failed]
    best = sorted(scored, key=lambda r: (-r.outcome.lower_bound, r.number))[:MAX_SCORED]
    return sorted(best, key=lambda r: r.number)
