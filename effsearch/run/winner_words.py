"""What a winner is, and what it is best at, in words; and where winners meet the space's edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from effsearch.run.by_hand import families_of
from effsearch.search.candidates import Outcome, Record
from searchspace import Architecture, SearchSpace

# What a winner can be best at: the words, and what is least for the best one.
_MERITS: dict[str, Callable[[Outcome], float]] = {
    "most accurate by the bound": lambda o: -o.lower_bound,
    "highest estimate": lambda o: -o.score,
    "surest estimate": lambda o: o.score_std,
    "fastest": lambda o: o.quantile_ms,
    "fewest parameters": lambda o: o.params,
    "least arithmetic": lambda o: o.macs,
}


def merits(winners: Sequence[Record]) -> list[list[str]]:
    """Return what each winner is the best at among all, in words.

    With one winner there is nothing to compare, and with ties nobody is the best.
    """
    outcomes = [record.outcome for record in winners]
    found: list[list[str]] = [[] for _ in winners]
    if len(winners) < 2:
        return found
    for words, cost in _MERITS.items():
        costs = [cost(outcome) for outcome in outcomes]
        best = min(costs)
        if costs.count(best) == 1:
            found[costs.index(best)].append(words)
    return found


def mixture(architecture: Architecture) -> str:
    """Return which families a network mixes, and how it begins, in words."""
    stem = architecture.stem
    count = len(architecture.stages)
    families = " + ".join(families_of(architecture))
    return f"{families}, {stem.type} stem of stride {stem.stride}, {count} stages"


def edges(space: SearchSpace, winners: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the axes at whose end winners stand: there the space may hold them back.

    Returns:
        A row for each axis and end: `axis`, `end` (`least` or `most`), `value`, and `winners`, the
        ranks of those that stand there; those that most winners share first.
    """
    found: dict[tuple[str, str, Any], list[int]] = {}
    for rank, record in enumerate(winners, 1):
        if record.candidate.member:
            for axis, (end, value) in space.ends(record.candidate.architecture).items():
                found.setdefault((axis, end, value), []).append(rank)
    rows = [
        {"axis": axis, "end": end, "value": value, "winners": ranks}
        for (axis, end, value), ranks in found.items()
    ]
    return sorted(rows, key=lambda row: (-len(row["winners"]), row["winners"], row["axis"]))


def edge_line(rows: Sequence[dict[str, Any]], count: int) -> str:
    """Return the edges that winner 1 or most winners stand at in one line; empty where none.

    Args:
        rows: of `edges`.
        count: of winners.
    """
    shown = [r for r in rows if 1 in r["winners"] or 2 * len(r["winners"]) > count]
    if not shown:
        return ""
    parts = ", ".join(f"{r['axis']} {r['value']} ({r['end']} there is)" for r in shown)
    return f"at the edge of the space: {parts}; a wider space may hold better"
