"""Refining without Ray: trainings run here, one after another, as Tune runs one at a time."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from effsearch.errors import WorkFailedError
from effsearch.refine import refinement as run
from effsearch.refine import trial
from effsearch.refine.ranking import FAILED, FINISHED
from effsearch.refine.refinement import refine
from effsearch.training.trainer import TrainingError
from tests.fixtures.refine import KilledError


def summary(found):
    return [(e.name, e.training.state, e.training.curve) for e in found.order]


def call(wanted, folder, networks, said=None, **more):
    baseline = dataclasses.replace(
        networks[3],
        candidate=dataclasses.replace(networks[3].candidate, origin="published", source="shvit_s0"),
    )
    say = (said if said is not None else []).append
    return refine(wanted, 0, folder, networks[:3], baseline, 1, say=say, **more)


def test_a_refinement_killed_anywhere_ends_as_an_uninterrupted_one(
    wanted, networks, serial, tmp_path
):
    said = []
    whole = call(wanted, tmp_path / "whole", networks, said)
    assert serial.begun[0] == networks[3].candidate.digest  # the baseline is what has to be beaten
    expected = summary(whole)
    assert {name for name, _, _ in expected} == {
        "shvit_s0", *(r.candidate.digest for r in networks[:3])
    }  # fmt: skip
    lines = (tmp_path / "whole" / "results.jsonl").read_text().splitlines()
    assert "at most" in "\n".join(said)
    for cut in (0, 2, len(lines) - 1):
        folder = tmp_path / f"cut{cut}"
        serial.after = cut
        with pytest.raises(KilledError):
            call(wanted, folder, networks)
        serial.after = None
        assert summary(call(wanted, folder, networks)) == expected
        again = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
        first = [json.loads(line) for line in lines]
        for line in (*again, *first):
            line.pop("seconds", None)
        assert again == first
    # All is done: nothing is trained, and nothing but weights and figures is left.
    serial.begun.clear()
    assert summary(call(wanted, tmp_path / "whole", networks)) == expected
    assert serial.begun == []
    for name in (r.candidate.digest for r in networks):
        left = sorted(path.name for path in (tmp_path / "whole" / name).iterdir())
        assert left == ["epochs.csv", "model.pt"]
    # Lost weights are trained again.
    shutil.rmtree(tmp_path / "whole" / networks[1].candidate.digest)
    found = call(wanted, tmp_path / "whole", networks)
    assert serial.begun == [networks[1].candidate.digest]
    assert len(found.order) == 4


def test_a_failure_does_not_end_the_rest_and_is_tried_again(
    wanted, networks, serial, tmp_path, monkeypatch
):
    bad, real = networks[1].candidate.digest, trial.train
    errors = [MemoryError("no more"), TrainingError("the loss became NaN")]

    def train(config, *args):
        if config.architecture.digest() == bad and errors:
            raise errors.pop(0)
        return real(config, *args)

    monkeypatch.setattr(trial, "train", train)
    said = []
    found = call(wanted, tmp_path, networks, said)
    (failed,) = [e for e in found.entrants if e.training.state == FAILED]
    assert failed.digest == bad
    assert any(line == f"{bad} failed: out of memory: no more; the others go on" for line in said)
    assert len(found.order) == 3
    assert found.entrant(bad) is None
    assert [r.candidate.digest for r in found.reorder(networks[:3])][-1] == bad
    serial.begun.clear()
    call(wanted, tmp_path, networks)  # tried again, and diverges ...
    again = call(wanted, tmp_path, networks)  # ... which it would do for ever
    assert serial.begun == [bad]
    (failed,) = [e for e in again.entrants if e.training.state == FAILED]
    assert "NaN" in failed.training.reason


def test_where_all_fail_the_work_failed(wanted, networks, serial, tmp_path, monkeypatch):
    def train(*args):
        raise RuntimeError("nothing works")

    monkeypatch.setattr(trial, "train", train)
    with pytest.raises(WorkFailedError, match=r"none of the 4 trainings.*nothing works"):
        call(wanted, tmp_path, networks)


def test_more_may_be_trained_later(wanted, networks, serial, tmp_path):
    one = dataclasses.replace(wanted, recipe=wanted.recipe.replace(epochs=1))
    few = refine(one, 0, tmp_path, networks[:1], None, 1)
    serial.begun.clear()
    more = refine(one, 0, tmp_path, networks[:3], None, 1)
    assert serial.begun == [r.candidate.digest for r in networks[1:3]]
    first = few.entrants[0].training
    assert more.entrant(first.digest).training == first
    assert first.state == FINISHED


def test_the_order_by_score_is_kept_for_those_that_were_not_trained(
    wanted, networks, serial, tmp_path
):
    one = dataclasses.replace(wanted, recipe=wanted.recipe.replace(epochs=1))
    found = refine(one, 0, tmp_path, networks[:2], None, 1)
    order = [r.number for r in found.reorder(networks)]
    assert sorted(order[:2]) == [0, 1]
    assert order[2:] == [2, 3]
    assert run.FOLDER == "refine"
