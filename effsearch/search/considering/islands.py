"""`Islands`: populations that evolve apart, a generation of all at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from effsearch.search.considering.assessment import Population, joined
from effsearch.search.considering.selection import Indices, survivors
from searchspace.variation import Codes, Variation

SIZE = 400
OFFSPRING = 3000  # of each island
OF_ONE_DESIGN = 20
CROSSED = 0.5
IMMIGRANTS = 0.02
MOST_CHANGES = 5


class Islands:
    """Populations and how they go on.

    Attributes:
        variation: makes children.
        populations: survivors of the last generation, the best first; none is empty.
    """

    def __init__(
        self, variation: Variation, begin: Sequence[Population], rng: np.random.Generator
    ) -> None:
        self.variation, self._rng = variation, rng
        self.populations = [self._surviving(population) for population in begin]

    def children(self) -> tuple[Codes, Indices]:
        """Return children (n, axes), a few of them strangers, and their islands' numbers (n,)."""
        rng, count = self._rng, len(self.populations)
        immigrants = round(OFFSPRING * IMMIGRANTS)
        crossed = round((OFFSPRING - immigrants) * CROSSED)
        islands = np.arange(count)
        strangers = self.variation.sample(immigrants * count, rng)
        mixed = self.variation.crossover(self._parents(crossed), self._parents(crossed), rng)
        # Half of the crossed are mutated too, and all the others.
        mutated = np.tile(np.arange(crossed) < crossed // 2, count)
        others = self._parents(OFFSPRING - immigrants - crossed)
        alone = np.concatenate([mixed[mutated], others])
        changes = np.minimum(rng.geometric(0.5, len(alone)), MOST_CHANGES)
        codes = [strangers, mixed[~mutated], self.variation.mutate(alone, changes, rng)]
        owner_of_mixed = np.repeat(islands, crossed)
        owners = [
            np.repeat(islands, immigrants),
            owner_of_mixed[~mutated],
            owner_of_mixed[mutated],
            np.repeat(islands, len(others) // count),
        ]
        return np.concatenate(codes), np.concatenate(owners)

    def take(self, found: Population, owners: Indices) -> None:
        """Let assessed networks compete for a place on their islands."""
        for number, population in enumerate(self.populations):
            own = found.take(owners == number)
            self.populations[number] = self._surviving(joined([population, own]))

    def _parents(self, count: int) -> Codes:
        """Return parents from each island: half from all, half from the better ones."""
        chosen = []
        for population in self.populations:
            drawn = self._rng.random(count)
            sharper = self._rng.random(count) < 0.5
            rows = (np.where(sharper, drawn**3, drawn) * len(population)).astype(np.intp)
            chosen.append(population.codes[rows])
        return np.concatenate(chosen)

    def _surviving(self, population: Population) -> Population:
        designs = self.variation.designs(population.codes)
        return population.take(survivors(population, SIZE, designs, OF_ONE_DESIGN))
