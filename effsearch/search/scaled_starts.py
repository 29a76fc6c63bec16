"""Where a search starts beside the published networks: these scaled by hand, the best that fit."""

from __future__ import annotations

from collections.abc import Sequence

from effsearch.search.candidates import SCALED, Candidate, Outcome
from effsearch.search.evaluation import Evaluator
from effsearch.search.limits import Limits
from effsearch.search.references import scalable
from searchspace import Architecture, SearchSpace
from searchspace.scaling import scaled_families

BEST = 24
BEST_OF_EACH = 2  # of those that come of one published network
# Of each published network, the widest that fit at any depth: narrower ones leave budget unused
# even at the greatest depth.
WIDTHS = 4

Priced = tuple[Architecture, Outcome]


def scaled_starts(space: SearchSpace, screen: Evaluator, limits: Limits) -> list[Candidate]:
    """Return the scaled networks of a space that meet the limits and score best, best first.

    The best overall, and some of each published network, so that every family is among them.

    Args:
        space: of the search.
        screen: prices and scores them; for a slow score, a fast one that stands in for it.
        limits: of the search.
    """
    fits: list[Priced] = []
    by_width = _by_width(space)
    screen.prepare(group[0] for groups in by_width.values() for group in groups)
    for groups in by_width.values():
        fits += _that_fit(groups, screen, limits)
    fits.sort(key=lambda pair: (-pair[1].lower_bound, pair[0].name))
    of_each: dict[str, int] = {}
    chosen = []
    for rank, (network, _) in enumerate(fits):
        base = _base(network)
        of_each[base] = of_each.get(base, 0) + 1
        if rank < BEST or of_each[base] <= BEST_OF_EACH:
            chosen.append(Candidate(network, SCALED, network.name))
    return chosen


def _by_width(space: SearchSpace) -> dict[str, list[list[Architecture]]]:
    """Return the scalings of each published network: by width, narrowest first, and depth."""
    groups: dict[str, dict[int, list[Architecture]]] = {}
    for network in scaled_families(scalable(space)):
        if network not in space:
            continue
        widths = groups.setdefault(_base(network), {})
        widths.setdefault(network.stages[-1].width, []).append(network)
    return {
        base: [sorted(widths[width], key=lambda n: n.depth) for width in sorted(widths)]
        for base, widths in groups.items()
    }


def _that_fit(
    groups: Sequence[Sequence[Architecture]], screen: Evaluator, limits: Limits
) -> list[Priced]:
    """Return what fits of the widest groups of which anything does, priced and scored."""

    def fits(outcome: Outcome) -> bool:
        return not outcome.error and all(e <= 0 for e in limits.excess(outcome).values())

    # Bisection: the shallowest network of a width is its fastest, and latency grows with width.
    low, high = 0, len(groups)
    while low < high:
        middle = (low + high) // 2
        if fits(screen.evaluate(groups[middle][0])):
            low = middle + 1
        else:
            high = middle
    networks = [
        network
        for group in groups[max(0, low - WIDTHS) : low]
        for network in group
        if _base(network) != network.name
    ]
    return [(n, o) for n, o in zip(networks, screen(networks), strict=True) if fits(o)]


def _base(network: Architecture) -> str:
    """Return the published network that a scaled one comes of."""
    return network.name.split(" x ")[0]
