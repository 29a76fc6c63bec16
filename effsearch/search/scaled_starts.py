"""Where a search starts beside the published networks: these scaled by hand, the best that fit."""

from __future__ import annotations

from effsearch.search.candidates import SCALED, Candidate
from effsearch.search.evaluation import Evaluator
from effsearch.search.limits import Limits
from searchspace import SearchSpace, zoo
from searchspace.scaling import scaled_families

BEST = 24
BEST_OF_EACH = 2  # of those that come of one published network


def scaled_starts(space: SearchSpace, screen: Evaluator, limits: Limits) -> list[Candidate]:
    """Return the scaled networks that meet the limits and score best, best first.

    The best overall, and some of each published network, so that every family is among them.

    Args:
        space: of the search.
        screen: prices and scores them; for a slow score, a fast one that stands in for it.
        limits: of the search.
    """
    networks = [n for n in scaled_families() if n.name not in zoo.names()]
    found = zip(networks, screen(networks), strict=True)
    fits = [
        (network, outcome)
        for network, outcome in found
        if not outcome.error and all(e <= 0 for e in limits.excess(outcome).values())
    ]
    fits.sort(key=lambda pair: -pair[1].lower_bound)
    of_each: dict[str, int] = {}
    chosen = []
    for rank, (network, _) in enumerate(fits):
        base = network.name.split(" ")[0]
        of_each[base] = of_each.get(base, 0) + 1
        if rank < BEST or of_each[base] <= BEST_OF_EACH:
            chosen.append(Candidate(network, SCALED, network.name, member=network in space))
    return chosen
