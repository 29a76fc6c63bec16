"""`Island`: one population that evolves by itself."""

from __future__ import annotations

import numpy as np

from effsearch.search.considering.assessment import Population, joined
from effsearch.search.considering.selection import survivors
from searchspace.variation import Codes, Variation

SIZE = 400
OFFSPRING = 2000
OF_ONE_DESIGN = 20
CROSSED = 0.5
IMMIGRANTS = 0.02
MOST_CHANGES = 5


class Island:
    """A population and how it goes on.

    Attributes:
        variation: makes children.
        population: survivors of the last generation, the best first.
    """

    def __init__(self, variation: Variation, begins: Population, rng: np.random.Generator) -> None:
        self.variation, self._rng = variation, rng
        self.population = self._surviving(begins)

    def children(self, count: int = OFFSPRING) -> Codes:
        """Return children of the population, a few of them strangers."""
        rng, parents = self._rng, self.population.codes
        strangers = self.variation.sample(round(count * IMMIGRANTS), rng)
        if not len(parents):
            return strangers
        count -= len(strangers)
        crossed = round(count * CROSSED)
        mixed = self.variation.crossover(
            parents[self._chosen(crossed)], parents[self._chosen(crossed)], rng
        )
        # Half of the crossed are mutated too, and all the others.
        alone = np.concatenate([mixed[crossed // 2 :], parents[self._chosen(count - crossed)]])
        changes = np.minimum(rng.geometric(0.5, len(alone)), MOST_CHANGES)
        return np.concatenate(
            [strangers, mixed[: crossed // 2], self.variation.mutate(alone, changes, rng)]
        )

    def take(self, others: Population) -> None:
        """Let assessed networks compete for a place."""
        self.population = self._surviving(joined([self.population, others]))

    def _chosen(self, count: int) -> np.ndarray:
        """Return parents: half from all, half from the better ones."""
        size = len(self.population)
        drawn = self._rng.random(count)
        sharper = self._rng.random(count) < 0.5
        return (np.where(sharper, drawn**3, drawn) * size).astype(np.intp)

    def _surviving(self, population: Population) -> Population:
        designs = self.variation.designs(population.codes)
        return population.take(survivors(population, SIZE, designs, OF_ONE_DESIGN))
