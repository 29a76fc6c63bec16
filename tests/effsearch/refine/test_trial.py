from __future__ import annotations

from contextlib import suppress

import pytest
import torch

from effsearch.refine import trial
from effsearch.refine.trial import TrialSpec, run_trial
from effsearch.training import checkpoint as checkpoints
from effsearch.training.trainer import TrainingError


class EndedHereError(BaseException):
    """A kill, as far as the training can tell."""


@pytest.fixture
def spec(networks, squares, quick, tmp_path):
    candidate = networks[0].candidate
    return lambda name="out", **changes: TrialSpec(
        **{
            "digest": candidate.digest,
            "architecture": candidate.architecture.to_dict(),
            "data": str(squares),
            "out": str(tmp_path / name),
            "recipe": quick.to_dict(),
            "seed": 0,
            "device": "cpu",
            "threads": 1,
            **changes,
        }
    )


def collect(spec, ends_after=None):
    told = []

    def report(result):
        told.append(result)
        if len(told) == ends_after:
            raise EndedHereError

    with suppress(EndedHereError):
        run_trial(spec, report)
    return told


def test_a_killed_training_goes_on_and_reports_what_was_not_reported(spec, tmp_path):
    whole = collect(spec())
    assert [r["epoch"] for r in whole] == [1, 2, 3]
    assert {r["device"] for r in whole} == {whole[0]["device"]}
    parts = collect(spec("parts"), ends_after=2)
    # Killed after the second epoch was saved, before it was noted.
    parts = parts[:1] + collect(spec("parts", reported=1))
    assert parts == whole
    a, b = (checkpoints.load(tmp_path / n / "model.pt").state_dict for n in ("out", "parts"))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_all_that_was_saved_is_reported_without_training(spec, monkeypatch):
    whole = collect(spec())
    monkeypatch.setattr(trial, "train", lambda *args: None)
    assert collect(spec()) == whole
    assert collect(spec(reported=3)) == []


@pytest.mark.parametrize(
    ("error", "words", "final"),
    [
        (TrainingError("the loss became NaN in epoch 2"), "diverged: the loss became NaN", True),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried"), "out of memory: CUDA out", False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory: ", False),
        (RuntimeError("sizes differ\nat line 3"), "RuntimeError: sizes differ", False),
        (MemoryError(), "out of memory: no reason given", False),
    ],
)
def test_a_failure_is_one_line(spec, monkeypatch, error, words, final):
    def fail(*args):
        raise error

    monkeypatch.setattr(trial, "train", fail)
    (told,) = collect(spec())
    assert told["failed"].startswith(words)
    assert "\n" not in told["failed"]
    assert told["final"] is final


def test_a_real_divergence_is_reported(spec, quick):
    wild = quick.replace(learning_rate=1e30, gradient_clip=0.0, warmup_epochs=0.0, ema_decay=0.0)
    told = collect(spec(recipe=wild.to_dict()))
    assert told[-1]["failed"].startswith("diverged")


def test_damaged_state_is_reported(spec, tmp_path):
    collect(spec(), ends_after=1)
    (tmp_path / "out" / "last.pt").write_bytes(b"junk")
    (told,) = collect(spec())
    assert "\n" not in told["failed"]
