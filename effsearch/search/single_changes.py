"""`Effect`: what one change of an architecture does to its latency, score and size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from effsearch.search.candidates import Outcome
from effsearch.search.evaluation import Evaluator
from searchspace import Architecture, SearchSpace, UserError
from searchspace.space import Change, label

SHOWN = 10  # changes of a kind that people are shown
REASONS = 2  # of a change's score, the greatest


@dataclass(frozen=True)
class Effect:
    """What one change within a space does.

    Attributes:
        axis: what changes, as the space names it.
        before: the value of the architecture as it is.
        after: the value that is tried.
        latency_ms: added to the predicted latency.
        quantile_ms: latency after the change, not exceeded with the evaluator's confidence.
        score: added to the score.
        lower_bound: added to the score's lower bound.
        params: added parameters.
        macs: added multiply-accumulates.
        reasons: causes of the score's change, the greatest first, in its unit; empty where the
            source of scores can't say.
    """

    axis: str
    before: Any
    after: Any
    latency_ms: float
    quantile_ms: float
    score: float
    lower_bound: float
    params: int
    macs: int
    reasons: tuple[tuple[str, float], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "reasons": dict(self.reasons)}


def effects(
    space: SearchSpace, architecture: Architecture, evaluator: Evaluator
) -> tuple[Outcome, list[Effect]]:
    """Return an architecture's own outcome, and the effect of every single change in a space.

    Changes that can't be priced or scored are left out.

    Raises:
        UserError: where the architecture is not in the space, or can't be priced or scored.
    """
    own = evaluator.evaluate(architecture)
    if own.error:
        raise UserError(f"{architecture.name or architecture.digest()}: {own.error}")
    changes = list(space.changes(architecture))
    tried = evaluator([change.architecture for change in changes])
    found = [
        _effect(architecture, own, change, outcome, evaluator)
        for change, outcome in zip(changes, tried, strict=True)
        if not outcome.error
    ]
    return own, found


def savings(found: Sequence[Effect]) -> list[Effect]:
    """Return the changes that save latency, those that save most a point of lower bound first.

    What saves latency and costs no point comes before all others.
    """
    return sorted(
        (e for e in found if e.latency_ms < 0), key=lambda e: _rate(-e.latency_ms, -e.lower_bound)
    )


def gains(found: Sequence[Effect]) -> list[Effect]:
    """Return the changes that raise the lower bound, those that gain most a millisecond first.

    What raises it and costs no latency comes before all others.
    """
    return sorted(
        (e for e in found if e.lower_bound > 0), key=lambda e: _rate(e.lower_bound, e.latency_ms)
    )


def _rate(gain: float, price: float) -> tuple[float, float]:
    """Return a key that sorts what is free first, then by gain over price; more gain first."""
    return (-math.inf if price <= 0 else -gain / price, -gain)


def _effect(
    architecture: Architecture, own: Outcome, change: Change, to: Outcome, evaluator: Evaluator
) -> Effect:
    reasons = evaluator.source.reasons(architecture, change.architecture)
    ranked = sorted(reasons.items(), key=lambda item: -abs(item[1]))
    return Effect(
        change.axis,
        label(change.before),
        label(change.after),
        to.mean_ms - own.mean_ms,
        to.quantile_ms,
        to.score - own.score,
        to.lower_bound - own.lower_bound,
        to.params - own.params,
        to.macs - own.macs,
        tuple(ranked[:REASONS]),
    )
