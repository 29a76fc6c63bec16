"""Which of a space's choices matter, over the trials that a search recorded."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

SHOWN = 8
_FEWEST_TRIALS = 50  # whose best tenth still says something


def importances(study: optuna.Study) -> dict[str, Any] | None:
    """Return the share that each choice has in a high score, and in a low latency.

    By PED-ANOVA (Watanabe et al., IJCAI 2023, and its extension to conditional choices), which has
    no randomness: how much the best tenth of the trials within the limits differ in a choice from
    all of these. That tells of these trials, which a search chose, not of the space.

    Args:
        study: a run's; its objectives are the score's bound, upwards, and the latency's.

    Returns:
        `method`, `trials`, and under `score` and `latency` the `axis` and the `share` of the
        choices that have most; shares sum to 1 over all choices, and there are none where the best
        tenth is as the rest. None with too few trials.
    """
    trials = [t for t in study.get_trials(deepcopy=False) if _counts(t)]
    if len(trials) < _FEWEST_TRIALS:
        return None
    names = sorted({name for trial in trials for name in trial.params})
    return {
        "method": "PED-ANOVA",
        "trials": len(trials),
        "score": _shares(study, names, lambda trial: -trial.values[0]),
        "latency": _shares(study, names, lambda trial: trial.values[1]),
    }


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial is of a member of the space and within the limits."""
    within = all(excess <= 0 for excess in trial.constraints.values())
    return trial.state == TrialState.COMPLETE and bool(trial.params) and within


def _shares(
    study: optuna.Study, names: list[str], target: Callable[[FrozenTrial], float]
) -> list[dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rare choices have few trials
        found = get_param_importances(
            study,
            evaluator=PedAnovaImportanceEvaluator(),
            params=names,
            target=lambda trial: target(trial) if _counts(trial) else math.nan,
            normalize=False,
        )
    total = sum(found.values())
    if not total > 0:
        return []
    shares = sorted(found.items(), key=lambda item: (-round(item[1] / total, 6), item[0]))
    return [{"axis": axis, "share": round(share / total, 6)} for axis, share in shares[:SHOWN]]
