"""`search_by_totals`: a search of a score that is a function of totals, and what it records.

Very many networks are considered; the study gets those that carry information: what anyone has by
hand, the best, the front, and a uniform random sample.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from effsearch.accuracy.score import TotalsScore
from effsearch.search.candidates import EVOLVED, SAMPLED, SCALED, Candidate, Outcome, Record
from effsearch.search.considering.assessment import Assessor, Population
from effsearch.search.considering.consider import Considered, Point, consider
from effsearch.search.evaluation import Evaluator
from effsearch.search.limits import Limits
from effsearch.search.pareto import hypervolume
from effsearch.search.planner import published
from effsearch.search.references import scalable
from searchspace import SearchSpace
from searchspace.scaling import scaled_families
from searchspace.schema import FAMILIES
from searchspace.variation import Codes, Variation

COARSE, MEDIUM = 1.5, 1.25  # least factors between widths while networks still differ a lot
STRANGERS = 300  # random networks to begin with
# Shares of what is recorded: by hand, the uniform sample, the front, the best.
BY_HAND, SAMPLE, FRONT, BEST = 0.1, 0.2, 0.15, 0.53
SCALED_AT_LEAST = 8  # networks scaled by hand that are recorded, however few trials there are
POINTS = 50


@dataclass(frozen=True)
class Found:
    """What a search by totals found.

    Attributes:
        records: what is worth recording, numbered from 0.
        considered: how many different networks were considered.
        progress: rows of `considered`, `best_lower_bound` and `hypervolume`.
    """

    records: list[Record]
    considered: int
    progress: list[dict[str, Any]]


def search_by_totals(
    space: SearchSpace,
    evaluator: Evaluator,
    limits: Limits,
    number: int,
    trials: int,
    seed: int,
    outsiders: bool = True,
    own: Sequence[Candidate] = (),
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int, float], None] = lambda number, best: None,
) -> Found | None:
    """Consider networks and return what to record of them.

    Args:
        space: what may be built.
        evaluator: its table and score; the score has to be a `TotalsScore`.
        limits: what candidates are held against.
        number: of networks to consider.
        trials: of records, at most.
        seed: of every random choice; the result depends on nothing else.
        outsiders: whether networks outside of the space can be scored.
        own: networks of a person's own, which are considered and recorded.
        stop: asked several times a second whether to end early.
        tell: told how many were considered, and the best lower bound.

    Returns:
        What was found; None where `stop` said so.
    """
    source = evaluator.source
    assert isinstance(source, TotalsScore)
    fine, medium, coarse = (Variation(space, ratio) for ratio in (1.0, MEDIUM, COARSE))
    assessor = Assessor(
        space,
        evaluator.table,
        source,
        limits,
        evaluator.confidence,
        fine.hashes,
        evaluator.others,
    )
    by_hand = _by_hand(space, outsiders, own)
    inside = [c for c in by_hand if c.member]
    codes = space.encode([c.architecture for c in inside])
    rng = np.random.default_rng([seed, 0xBE])
    sample_size = max(1, round(SAMPLE * trials))
    found = consider(
        assessor,
        coarse,
        medium,
        fine,
        _beginnings(inside, codes, coarse.sample(STRANGERS, rng), {c.digest for c in own}),
        number,
        sample_size,
        max(2, round(BEST * trials)),
        seed,
        stop,
        tell,
    )
    if found is None:
        return None
    room = round(BY_HAND * trials)
    rows = [
        *zip(inside, assessor.outcomes(codes), strict=True),
        *_outside(evaluator, [c for c in by_hand if not c.member]),
    ]
    rows = _best_by_hand(rows, limits, room, {c.digest for c in own})
    rows = rows[: max(len(own), trials // 2)]
    seen = {candidate.digest for candidate, _ in rows}
    for population, origin in _worth_recording(found, round(FRONT * trials)):
        for code, outcome in zip(
            population.codes, assessor.outcomes(population.codes), strict=True
        ):
            candidate = Candidate(space.decode(code), origin)
            if candidate.digest not in seen:
                seen.add(candidate.digest)
                rows.append((candidate, outcome))
    records = [
        Record(number, 0, candidate, outcome, {} if outcome.error else limits.excess(outcome))
        for number, (candidate, outcome) in enumerate(rows[:trials])
    ]
    return Found(records, found.number, _progress(found.progress, limits.budget_ms))


def _by_hand(space: SearchSpace, outsiders: bool, own: Sequence[Candidate] = ()) -> list[Candidate]:
    """Return own and published networks, the members most like these, scaled ones; each once."""
    found: dict[str, Candidate] = {}
    scaled = (
        Candidate(network, SCALED, network.name, member=network in space)
        for network in scaled_families(scalable(space))
    )
    for candidate in (*own, *published(space), *scaled):
        if candidate.member or outsiders:
            found.setdefault(candidate.digest, candidate)
    return list(found.values())


def _beginnings(
    inside: Sequence[Candidate], codes: Codes, strangers: Codes, own: Container[str]
) -> list[Codes]:
    """Return what islands begin with: each family's networks, all of them, random ones, own."""
    mine = np.array([candidate.digest in own for candidate in inside], bool)
    families = np.array([_family(candidate) for candidate in inside])
    parts = [codes[families == family] for family in range(len(FAMILIES))]
    return [part for part in (*parts, codes, strangers, codes[mine]) if len(part)]


def _family(candidate: Candidate) -> int:
    name = candidate.source
    return next((i for i, f in enumerate(FAMILIES) if name.startswith(f.lower())), -1)


def _outside(
    evaluator: Evaluator, candidates: Sequence[Candidate]
) -> list[tuple[Candidate, Outcome]]:
    """Return networks that are not in the space, one by one."""
    outcomes = evaluator([candidate.architecture for candidate in candidates])
    return list(zip(candidates, outcomes, strict=True))


def _best_by_hand(
    rows: Sequence[tuple[Candidate, Outcome]], limits: Limits, room: int, own: Container[str]
) -> list[tuple[Candidate, Outcome]]:
    """Return own and published networks and the best others, those within the limits first."""

    def rank(row: tuple[Candidate, Outcome]) -> tuple[bool, bool, float, float]:
        candidate, outcome = row
        kind = candidate.digest not in own, not candidate.reference
        if outcome.error:
            return *kind, float("inf"), 0.0
        excess = sum(max(0.0, value) for value in limits.excess(outcome).values())
        return *kind, excess, -outcome.lower_bound

    ordered = sorted(rows, key=rank)
    count = sum(candidate.reference or candidate.digest in own for candidate, _ in ordered)
    return ordered[: max(count + SCALED_AT_LEAST, room)]


def _worth_recording(found: Considered, most: int) -> list[tuple[Population, str]]:
    """Return what is recorded besides, in order; of the front so many, evenly spaced."""
    if not len(found.best):
        return [(found.nearest, EVOLVED), (found.sampled, SAMPLED)]
    front = found.front.take(
        np.unique(np.linspace(0, len(found.front) - 1, max(1, most)).astype(int))
    )
    best = found.best.take(np.lexsort((found.best.hashes, -found.best.lower_bound)))
    return [
        (best.take(np.arange(1)), EVOLVED),
        (found.families, EVOLVED),
        (found.sampled, SAMPLED),
        (front, EVOLVED),
        (best, EVOLVED),
    ]


def _progress(points: Sequence[Point], budget_ms: float) -> list[dict[str, Any]]:
    """Return the front's hypervolume and the best score at some numbers considered.

    The reference point is the budget and the least score on the last front.
    """
    points = [point for point in points if len(point.scores)]
    if not points:
        return []
    least = float(points[-1].scores.min())
    chosen = np.unique(np.linspace(0, len(points) - 1, POINTS).astype(int))
    return [
        {
            "considered": points[i].considered,
            "best_lower_bound": float(points[i].scores.max()),
            "hypervolume": hypervolume(points[i].scores, points[i].costs, least, budget_ms),
        }
        for i in chosen
    ]
