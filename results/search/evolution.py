"""Evolution as once-for-all searches its networks, as a rival (Cai et al., ICLR 2020).

Its `EvolutionFinder` (arXiv 1908.09791, section 4.1): a population of 100 networks within the
budget; each generation the best quarter stay and breed, half of the children by mutation of each
choice with probability 0.1, half by uniform crossover; what is over the budget is drawn again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np

from searchspace import Architecture, SearchSpace

POPULATION = 100
PARENTS = 0.25
MUTATED = 0.5  # share of the children
RATE = 0.1  # of mutation, for each choice

Result = tuple[float, float, float]
Proposals = Generator[Architecture, Result, None]


def evolution(space: SearchSpace, known: Sequence[Architecture], seed: int) -> Proposals:
    """Yield networks to price and score; takes score, latency and excess of each.

    Args:
        space: of the networks.
        known: networks that the first population has.
        seed: of every random choice.
    """
    rng = np.random.default_rng(seed)

    def fitting(make: Callable[[], Architecture]) -> Proposals:
        while True:
            network = make()
            score, _, excess = yield network
            if excess <= 0:
                population.append((score, network))
                return

    population: list[tuple[float, Architecture]] = []
    for network in known:
        yield from fitting(lambda network=network: network)  # type: ignore[misc]
    while len(population) < POPULATION:
        yield from fitting(lambda: space.sample(rng))
    while True:
        population.sort(key=lambda pair: -pair[0])
        parents = [network for _, network in population[: round(PARENTS * POPULATION)]]
        population[:] = population[: len(parents)]

        def parent(parents: Sequence[Architecture] = parents) -> Architecture:
            return parents[int(rng.integers(len(parents)))]

        def mutated(parent: Callable[[], Architecture] = parent) -> Architecture:
            changes = int(rng.binomial(len(space.axes), RATE))
            return space.mutate(parent(), rng, max(1, changes))

        def crossed(parent: Callable[[], Architecture] = parent) -> Architecture:
            return space.crossover(parent(), parent(), rng)

        for _ in range(round(MUTATED * POPULATION)):
            yield from fitting(mutated)
        for _ in range(round((1 - MUTATED) * POPULATION)):
            yield from fitting(crossed)
