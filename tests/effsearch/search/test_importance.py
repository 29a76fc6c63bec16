"""Which choices matter: a choice that alone decides comes first, and nothing is drawn by chance."""

from __future__ import annotations

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from effsearch.search.importance import importances

WIDTH, KERNEL = IntDistribution(8, 64, step=8), CategoricalDistribution((3, 5, 7))


def study_of(count, over=0):
    """Trials whose score is the width, whose latency is the kernel; the last few over the limit."""
    rng = np.random.default_rng(0)
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(count):
        params = {"width": int(8 * rng.integers(1, 9)), "kernel": int(rng.choice([3, 5, 7]))}
        excess = 1.0 if number >= count - over else -1.0
        values = [params["width"] + 0.01 * number, params["kernel"] + 0.001 * number]
        if excess > 0:  # the highest scores, of the least width
            params["width"], values = 8, [1000.0, 100.0]
        study.add_trial(
            optuna.create_trial(
                params=params,
                distributions={"width": WIDTH, "kernel": KERNEL},
                values=values,
                system_attrs={"constraints": [excess]},
            )
        )
    study.add_trial(optuna.create_trial(state=TrialState.COMPLETE, values=[99.0, 0.1]))
    study.add_trial(optuna.create_trial(state=TrialState.FAIL))
    return study


def test_the_choice_that_decides_has_most(tmp_path):
    found = importances(study_of(300))
    assert found["trials"] == 300
    assert [row["axis"] for row in found["score"]] == ["width", "kernel"]
    assert [row["axis"] for row in found["latency"]] == ["kernel", "width"]
    for rows in (found["score"], found["latency"]):
        assert rows[0]["share"] > 0.8
        assert sum(row["share"] for row in rows) == pytest.approx(1, abs=1e-5)
    assert importances(study_of(300)) == found


def test_trials_over_the_limits_do_not_count():
    found = importances(study_of(300, over=60))
    assert found["trials"] == 240
    assert found["score"][0]["axis"] == "width"
    assert found["score"][0]["share"] > 0.8


def test_too_few_trials_say_nothing():
    assert importances(study_of(20)) is None


def test_where_all_are_alike_no_choice_matters():
    study = optuna.create_study(directions=["maximize", "minimize"])
    for number in range(60):
        params = {"width": int(8 + 8 * (number % 8))}
        study.add_trial(
            optuna.create_trial(
                params=params, distributions={"width": WIDTH}, values=[1.0, params["width"]]
            )
        )
    found = importances(study)
    assert found["score"] == []
    assert found["latency"] == [{"axis": "width", "share": 1.0}]
