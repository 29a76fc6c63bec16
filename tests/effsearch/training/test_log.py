from __future__ import annotations

import csv
import sys

import pytest

from effsearch.training.config import TrainConfig
from effsearch.training.log import EpochLog
from effsearch.training.trainer import train
from searchspace import Architecture
from searchspace.errors import UserError


def silent(line):
    del line


def rows(folder):
    with (folder / "epochs.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def config(tree, architectures, tmp_path, quick):
    architecture = Architecture.from_yaml(architectures / "tiny16.yaml")
    common = {"data": tree, "out": tmp_path / "out", "recipe": quick, "device": "cpu"}
    return lambda **changes: TrainConfig(architecture, **{**common, **changes})


def test_a_row_for_every_epoch_those_before_a_resume_too(config, tmp_path):
    train(config(stop_after=2), silent)
    result = train(config(resume=True), silent)
    found = rows(tmp_path / "out")
    assert [int(row["epoch"]) for row in found] == [1, 2, 3]
    for row, (epoch, loss, top1, _) in zip(found, result.curve, strict=True):
        assert (int(row["epoch"]), float(row["loss"])) == (epoch, pytest.approx(loss))
        assert float(row["top1"]) == pytest.approx(top1)
        assert float(row["images_per_s"]) * float(row["seconds"]) == pytest.approx(48)
    assert float(found[-1]["val_loss"]) == pytest.approx(result.metrics["val_loss"])
    # Warm-up, then a cosine down to a hundredth of the peak.
    rates = [float(row["learning_rate"]) for row in found]
    assert rates[0] > rates[1] > rates[2]


def test_what_is_trained_again_replaces_its_row(tmp_path):
    log = EpochLog(tmp_path, 0, False)
    for epoch in (1, 2, 3):
        log.add({"epoch": epoch, "loss": 1.0, "top1": 50.0})
    log = EpochLog(tmp_path, 1, False)
    log.add({"epoch": 2, "loss": 0.5, "top1": 60.0})
    assert [(row["epoch"], row["loss"]) for row in rows(tmp_path)] == [("1", "1"), ("2", "0.5")]


def test_a_file_of_another_program_is_replaced(tmp_path):
    (tmp_path / "epochs.csv").write_text("epoch,accuracy\n1,50\n")
    EpochLog(tmp_path, 1, False).add({"epoch": 2, "loss": 0.5, "top1": 60.0})
    assert [row["epoch"] for row in rows(tmp_path)] == ["2"]


def test_tensorboard_gets_the_same_figures(config, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train(config(stop_after=1, tensorboard=True), silent)
    result = train(config(resume=True, tensorboard=True), silent)
    read = events.EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    read.Reload()
    found = [(event.step, event.value) for event in read.Scalars("top1")]
    assert found == [(epoch, pytest.approx(top1)) for epoch, _, top1, _ in result.curve]


def test_without_tensorboard_s_package(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"install it with `pip install effsearch\[tensorboard\]`"):
        train(config(tensorboard=True), silent)
    assert not (tmp_path / "out").exists()
