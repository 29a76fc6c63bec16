"""`Polish`: iterated local search around the best networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from effsearch.search.considering.assessment import Population
from searchspace.variation import Codes, Variation

PAIRS = 20_000
KICK = 3  # changes at once that lead out of a local optimum


class Polish:
    """Climbs from a network by single changes, then by pairs of them, then after a kick.

    Attributes:
        code: of the best network so far, (axes,).
        lower_bound: of its score.
    """

    def __init__(
        self, variation: Variation, code: Codes, lower_bound: float, rng: np.random.Generator
    ) -> None:
        self._variation, self._rng = variation, rng
        self.code, self.lower_bound = code, lower_bound
        self._at, self._bound = code, lower_bound
        self._turns = self._climb()
        self._found: Population | None = None

    def proposals(self) -> Codes:
        """Return the networks to look at next."""
        return next(self._turns)

    def take(self, found: Population) -> None:
        """Say what they are."""
        self._found = found

    def _climb(self) -> Iterator[Codes]:
        while True:
            improved = True
            while improved:
                singles = self._variation.neighbours(self._at, self._rng)
                yield singles
                improved = self._move()
                if not improved:
                    yield self._pairs(singles)
                    improved = self._move()
            if self._bound >= self.lower_bound:
                self.code, self.lower_bound = self._at, self._bound
            kicked = np.repeat(self.code[None], 64, axis=0)
            yield self._variation.mutate(kicked, np.full(len(kicked), KICK), self._rng)
            self._bound = -np.inf
            self._move()
            if not np.isfinite(self._bound):
                self._at, self._bound = self.code, self.lower_bound

    def _pairs(self, singles: Codes) -> Codes:
        """Return the merged changes of pairs of single ones."""
        first, second = np.triu_indices(len(singles), 1)
        if len(first) > PAIRS:
            drawn = self._rng.choice(len(first), PAIRS, replace=False)
            first, second = first[drawn], second[drawn]
        return self._variation.merged(self._at, singles[first], singles[second], self._rng)

    def _move(self) -> bool:
        """Go to the best of what was found, where that is better than here."""
        found = self._found
        if found is None or not len(found):
            return False
        best = int(np.argmax(found.lower_bound))
        if not found.lower_bound[best] > self._bound:
            return False
        self._at, self._bound = found.codes[best], float(found.lower_bound[best])
        return True
