"""What single changes of a run's first winner would do, for its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from effsearch.accuracy.score import TotalsScore
from effsearch.search.candidates import Record
from effsearch.search.evaluation import Evaluator
from effsearch.search.single_changes import SHOWN, effects, gains, savings
from searchspace import SearchSpace


def explained(
    space: SearchSpace, evaluator: Evaluator, winners: Sequence[Record]
) -> dict[str, Any] | None:
    """Return the changes of winner 1 that save most latency a point and gain most a millisecond.

    None where there is no winner, where it is not of the space, or where scores are slow.
    """
    slow = not isinstance(evaluator.source, TotalsScore)
    if slow or not winners or not winners[0].candidate.member:
        return None
    _, found = effects(space, winners[0].candidate.architecture, evaluator)
    return {
        "winner": 1,
        "changes": len(found),
        "savings": [effect.to_dict() for effect in savings(found)[:SHOWN]],
        "gains": [effect.to_dict() for effect in gains(found)[:SHOWN]],
    }
