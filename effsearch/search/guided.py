"""`GuidedPlanner`: for slow scores, plans what may add most to the front."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from effsearch.search.candidates import Candidate, Record
from effsearch.search.planner import Planner, first_new
from effsearch.search.surrogate import MAX_SCORED, Array, Columns, Surrogate, most_promising
from searchspace import SearchSpace
from searchspace.variation import Codes, Rows

INITIAL = 30  # candidates before the first that is learnt from others, behind those given
# Enough for 8 workers; what that costs in scores is in results/search/workers.md.
BATCH = 8
LAG = 1
_POOL = 400  # children that are looked at for each batch
_DRAWS = 20  # random members that are looked at for each one taken: latency is free

Screen = Callable[[Codes], Array]


class GuidedPlanner(Planner):
    """Plans few candidates at a time, each for what it may add to the front.

    Random members and the children of the best (`Planner`) are looked at in numbers; of those
    within the limits the ones are taken whose score, at one deviation above what a Gaussian process
    of the scores so far expects (`Surrogate`), would add most to the front of score and latency.

    Args:
        space: what may be built.
        seed: of every random choice.
        trials: candidates in all.
        screen: what is free to know of n encoded members (n, k): by how much they exceed the
            limits, 0 for those that meet them; latencies in ms; then what else may tell their
            scores.
        budget_ms: highest latency; None for no limit, and score alone where all latencies are 0.
        outsiders: whether published networks outside of the space are candidates too.
        starts: members that the first batch begins with, behind the published networks.
        own: networks that the first batch begins with, before all others.
    """

    initial = INITIAL
    batch = BATCH
    lag = LAG

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

    def evolved(
        self,
        rng: np.random.Generator,
        records: Sequence[Record],
        seen: set[str],
        count: int,
        pending: Sequence[Candidate] = (),
    ) -> list[Candidate]:
        """Return up to `count` unseen children of the best records that may add most.

        What is pending counts as if it scored what is hoped of it, so that its like is left alone.
        """
        scored = _informative(records)
        if len(scored) < 2:
            return self.sampled(rng, seen, count)
        members = [r for r in records if r.candidate.member and not r.failed]
        pool, strangers = self._fresh(
            *self.children(rng, members, _POOL), [*(r.candidate for r in records), *pending]
        )
        held = self.encoded([r.candidate for r in scored])
        waiting = self.encoded([c for c in pending if c.member])
        screened = self._screen(np.concatenate([held, waiting, pool]))
        excess, free = screened[:, 0], screened[:, 1:]
        first_pooled = len(held) + len(waiting)
        known, coming, pooled = np.split(free, [len(held), first_pooled])
        budget = self._budget_ms or 1.001 * float(free[:, 0].max())
        fits = np.flatnonzero(excess[first_pooled:] <= 0)
        if len(fits) == 0:
            fits = np.argsort(excess[first_pooled:], kind="stable")
            return first_new(self.decoded(pool[fits], strangers[fits]), seen, count)
        scores = np.array([r.outcome.lower_bound for r in scored])
        columns = Columns(self.space)
        surrogate = Surrogate(columns(held, known), scores)

        def hoped(codes: Codes, rows: Array) -> Array:
            mean, std = surrogate.predict(columns(codes, rows))
            return mean + std

        chances = hoped(pool[fits], pooled[fits])
        order = np.argsort(-chances, kind="stable")
        heights = np.append(scores, hoped(waiting, coming))
        inside = excess[:first_pooled] <= 0
        if budget > 0 and inside.any():
            front = heights[inside], free[:first_pooled, 0][inside]
            first = most_promising(chances, pooled[fits, 0], front, 1.001 * budget, count)
            order = np.concatenate([first, order[~np.isin(order, first)]]).astype(np.intp)
        chosen = fits[order]
        return first_new(self.decoded(pool[chosen], strangers[chosen]), seen, count)

    def sampled(self, rng: np.random.Generator, seen: set[str], count: int) -> list[Candidate]:
        """Return the first random members of many that are within the limits, or nearest to it."""
        if self._budget_ms is None or count <= 0:
            return super().sampled(rng, seen, count)
        drawn = self.variation.sample(_DRAWS * count, rng)
        nearest = drawn[np.argsort(self._screen(drawn)[:, 0], kind="stable")]
        return first_new(self.decoded(nearest, np.ones(len(nearest), bool)), seen, count)

    def _fresh(
        self, codes: Codes, strangers: Rows, known: Sequence[Candidate]
    ) -> tuple[Codes, Rows]:
        """Return those that are not known, each once."""
        hashes = self.variation.hashes(codes)
        held = self.variation.hashes(self.encoded([c for c in known if c.member]))
        rows = np.unique(hashes, return_index=True)[1]
        rows = np.sort(rows[~np.isin(hashes[rows], held)])
        return codes[rows], strangers[rows]


def _informative(records: Sequence[Record]) -> list[Record]:
    """Return the members that a surrogate is fitted to: the best, where there are many."""
    scored = [r for r in records if r.candidate.member and not r.failed]
    best = sorted(scored, key=lambda r: (-r.outcome.lower_bound, r.number))[:MAX_SCORED]
    return sorted(best, key=lambda r: r.number)
