from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from effsearch.refine.asha import JournaledASHA, grace_epochs
from effsearch.refine.journal import Entry, Journal
from effsearch.refine.ranking import FAILED, FINISHED, STOPPED
from effsearch.training.recipe import Recipe, load

RECIPE = Recipe(epochs=8, warmup_epochs=0.5)
NAMES = "abcdef"


class StoppedHereError(Exception):
    pass


def curves(seed):
    rng = random.Random(seed)
    return {name: [rng.uniform(10, 90) for _ in range(RECIPE.epochs)] for name in NAMES}


def simulate(journal, values, concurrent=1, seed=0, lines=10**9):
    """Train as Tune does: reports of those in training come in any order."""
    scheduler = JournaledASHA(RECIPE, journal)
    waiting = [n for n in NAMES if scheduler.training(n) is None]
    running, rng = [], random.Random(seed)
    while waiting or running:
        while waiting and len(running) < concurrent:
            running.append(waiting.pop(0))
            scheduler.on_trial_add(None, SimpleNamespace(config={"digest": running[-1]}))
        if len(journal.entries) >= lines:
            raise StoppedHereError
        name = rng.choice(running)
        epoch = journal.epochs(name) + 1
        trial = SimpleNamespace(config={"digest": name})
        result = {"digest": name, "epoch": epoch, "top1": values[name][epoch - 1]}
        if scheduler.on_trial_result(None, trial, result) == "STOP":
            running.remove(name)
            scheduler.on_trial_complete(None, trial, result)
    return [scheduler.training(name) for name in NAMES]


@pytest.mark.parametrize("seed", range(3))
def test_one_at_a_time_a_killed_run_ends_as_an_uninterrupted_one(tmp_path, seed):
    values = curves(seed)
    whole = Journal.open(tmp_path / "whole")
    expected = simulate(whole, values)
    assert {t.state for t in expected} == {FINISHED, STOPPED}
    for cut in range(len(whole.entries)):
        path = tmp_path / f"cut{cut}"
        with pytest.raises(StoppedHereError):
            simulate(Journal.open(path), values, lines=cut)
        again = Journal.open(path)
        assert simulate(again, values) == expected
        assert again.entries == whole.entries


def test_decisions_that_were_taken_stay_with_many_at_a_time(tmp_path):
    values = curves(5)
    path = tmp_path / "journal"
    with pytest.raises(StoppedHereError):
        simulate(Journal.open(path), values, concurrent=3, lines=12)
    taken = {
        name: training
        for name in NAMES
        if (training := JournaledASHA(RECIPE, Journal.open(path)).training(name)) is not None
    }
    assert taken
    after = simulate(Journal.open(path), values, concurrent=3, seed=1)
    assert None not in after
    assert {t.digest: t for t in after if t.digest in taken} == taken


def test_the_lower_half_stops_at_a_rung(tmp_path):
    values = {name: [10.0 * (5 - i)] * RECIPE.epochs for i, name in enumerate(NAMES)}
    first, *others = simulate(Journal.open(tmp_path / "j"), values)
    assert (first.state, first.epochs) == (FINISHED, 8)
    assert {(t.state, t.epochs) for t in others} == {(STOPPED, 2)}


def test_an_epoch_that_is_known_is_not_noted_twice(tmp_path):
    journal = Journal.open(tmp_path / "j")
    scheduler = JournaledASHA(RECIPE, journal)
    trial = SimpleNamespace(config={"digest": "a"})
    scheduler.on_trial_add(None, trial)
    for epoch in (1, 1, 2):
        result = {"digest": "a", "epoch": epoch, "top1": 5.0}
        assert scheduler.on_trial_result(None, trial, result) == "CONTINUE"
    assert journal.curve("a") == [(1, 5.0), (2, 5.0)]


def test_failures_end_a_training_and_change_no_rung(tmp_path):
    journal, told = Journal.open(tmp_path / "j"), []
    scheduler = JournaledASHA(RECIPE, journal, lambda entry, ends: told.append((entry, ends)))
    one, two = (SimpleNamespace(config={"digest": name}) for name in "ab")
    for trial in (one, two):
        scheduler.on_trial_add(None, trial)
    result = {"digest": "a", "failed": "diverged", "final": True, "epoch": 0, "top1": float("nan")}
    assert scheduler.on_trial_result(None, one, result) == "STOP"
    scheduler.on_trial_error(None, two)
    assert told[0] == (Entry("a", failed="diverged", final=True), True)
    assert "its process died" in told[1][0].failed
    assert {scheduler.training(n).state for n in "ab"} == {FAILED}
    again = JournaledASHA(RECIPE, Journal.open(journal.path))
    assert again.training("a").reason == "diverged"
    assert all(not recorded for _, recorded in again._brackets[0]._rungs)


@pytest.mark.parametrize(
    ("epochs", "warmup", "grace"),
    [(1, 0.0, 1), (3, 0.3, 2), (8, 0.0, 2), (17, 1.0, 3), (100, 3.0, 13), (10, 5.0, 5), (2, 5, 2)],
)
def test_everybody_gets_an_eighth_and_the_warm_up_and_two_epochs(epochs, warmup, grace):
    assert grace_epochs(Recipe(epochs=epochs, warmup_epochs=float(warmup))) == grace


def test_nobody_is_stopped_before_an_epoch_of_full_size_images():
    recipe = load("evidence-cpu")
    assert recipe.side_at(1) < recipe.side_at(2) == recipe.image_side
    assert grace_epochs(recipe) == recipe.epochs == 3
    longer = recipe.replace(epochs=20)
    assert longer.side_at(grace_epochs(longer) - 1) == longer.image_side
    assert longer.side_at(grace_epochs(longer) - 2) < longer.image_side
