import os
import subprocess
import sys

import pytest
import torch

from effsearch.training import checkpoint as checkpoints
from effsearch.training.checkpoint import load_network
from effsearch.training.start_from import StartFrom
from effsearch.training.trainer import TrainConfig, train
from searchspace import Architecture
from searchspace.errors import UserError


@pytest.fixture
def config(tree, architectures, tmp_path, quick):
    architecture = Architecture.from_yaml(architectures / "tiny16.yaml")
    return lambda **changes: TrainConfig(
        **{
            "architecture": architecture,
            "data": tree,
            "out": tmp_path / "out",
            "recipe": quick,
            "device": "cpu",
            **changes,
        }
    )


def silent(line):
    del line


def weights(folder, name="model.pt"):
    return checkpoints.load(folder / name).state_dict


def test_training_learns_colours(config, quick):
    result = train(config(recipe=quick.replace(epochs=12)), silent)
    assert result.top1 > 60
    assert [point[0] for point in result.curve] == list(range(1, 13))
    held = checkpoints.load(result.checkpoint)
    assert held.top1 == result.top1
    assert load_network(result.checkpoint).build()(torch.zeros(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize("resident", [True, False], ids=["resident", "streamed"])
def test_a_resumed_training_equals_an_uninterrupted_one(config, tmp_path, resident):
    common = {"resident": resident, "data_workers": 0}
    train(config(out=tmp_path / "whole", **common), silent)
    train(config(out=tmp_path / "parts", stop_after=1, **common), silent)
    result = train(config(out=tmp_path / "parts", resume=True, **common), silent)
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert len(result.curve) == 3
    other = train(config(out=tmp_path / "other", seed=1, **common), silent)
    assert other.epochs == 3
    assert any(not torch.equal(whole[k], weights(tmp_path / "other")[k]) for k in whole)


def test_resuming_a_finished_training_trains_no_more(config):
    first = train(config(), silent)
    again = train(config(resume=True), silent)
    assert (again.top1, again.epochs) == (first.top1, 3)


def test_distillation_from_a_checkpoint(config, tmp_path):
    train(config(), silent)
    result = train(config(out=tmp_path / "student", teacher=tmp_path / "out/model.pt"), silent)
    taught, alone = weights(tmp_path / "student"), weights(tmp_path / "out")
    assert result.checkpoint.exists()
    assert any(not torch.equal(taught[key], alone[key]) for key in taught)


def test_what_cannot_be_resumed(config, architectures, quick, tmp_path, make_tree):
    with pytest.raises(UserError, match="nothing to resume"):
        train(config(resume=True), silent)
    train(config(stop_after=1), silent)
    with pytest.raises(UserError, match="resume it with --resume, or choose another --out"):
        train(config(), silent)
    other = Architecture.from_yaml(architectures / "tiny24.yaml")
    with pytest.raises(UserError, match="checkpoint of another architecture"):
        train(config(resume=True, architecture=other), silent)
    with pytest.raises(UserError, match="by another recipe"):
        train(config(resume=True, recipe=quick.replace(epochs=9)), silent)
    with pytest.raises(UserError, match="with the same seed"):
        train(config(resume=True, seed=4), silent)
    with pytest.raises(UserError, match="on other classes"):
        train(config(resume=True, data=make_tree(tmp_path / "four", classes=4)), silent)


def test_a_part_that_was_done_before_has_the_figures_of_the_deployed_weights(config, quick):
    averaged = quick.replace(ema_decay=0.9)
    first = train(config(recipe=averaged, stop_after=2), silent)
    for stop_after in (1, 2):
        again = train(config(recipe=averaged, stop_after=stop_after, resume=True), silent)
        assert (again.metrics, again.epochs) == (first.metrics, 2)


def test_a_teacher_stays_the_same(config, tmp_path):
    train(config(seed=1), silent)
    teacher = tmp_path / "out" / "model.pt"
    student = tmp_path / "student"
    train(config(out=student, teacher=teacher, stop_after=1), silent)
    with pytest.raises(UserError, match="was begun with another --teacher; resume with the same"):
        train(config(out=student, resume=True), silent)
    assert train(config(out=student, resume=True, teacher=teacher), silent).epochs == 3
    train(config(out=tmp_path / "alone", stop_after=1), silent)
    with pytest.raises(UserError, match="was begun without --teacher"):
        train(config(out=tmp_path / "alone", resume=True, teacher=teacher), silent)


def test_a_wrong_request_is_refused_before_images_are_decoded(config, tmp_path, monkeypatch):
    train(config(stop_after=1), silent)

    def decode(*arguments):
        raise AssertionError("images were decoded")

    monkeypatch.setattr("effsearch.training.tasks.classification.PixelSource", decode)
    none = tmp_path / "none.pt"
    for wrong, message in (
        ({}, "resume it with --resume"),
        ({"out": tmp_path / "new", "teacher": none}, "does not exist"),
        ({"out": tmp_path / "new", "start": StartFrom(str(none))}, "does not exist"),
    ):
        with pytest.raises(UserError, match=message):
            train(config(**wrong), silent)


def test_a_teacher_of_other_classes(config, tmp_path, make_tree):
    train(config(data=make_tree(tmp_path / "four", classes=4)), silent)
    with pytest.raises(UserError, match="knows other classes"):
        train(config(out=tmp_path / "student", teacher=tmp_path / "out/model.pt"), silent)


def test_too_few_images_for_a_step(config, quick):
    with pytest.raises(UserError, match="batch normalisation needs two or more"):
        train(config(recipe=quick.replace(batch_size=1)), silent)


@pytest.mark.slow
def test_two_processes_train_one_network(tree, architectures, tmp_path, quick):
    quick.replace(mix_probability=0.0).to_yaml(tmp_path / "quick.yaml")
    script = tmp_path / "run.py"
    script.write_text(
        "from pathlib import Path\n"
        "from effsearch.training.recipe import Recipe\n"
        "from effsearch.training.trainer import TrainConfig, train\n"
        "from searchspace import Architecture\n"
        f"root = Path({str(tmp_path)!r})\n"
        "train(TrainConfig(Architecture.from_yaml(root / 'architectures/tiny16.yaml'),"
        " root / 'tree', root / 'out', Recipe.from_yaml(root / 'quick.yaml'), device='cpu'))\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    ran = subprocess.run(
        [*command, str(script)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stderr.count("epoch 3/3") == 1
    held = checkpoints.load(tmp_path / "out" / "last.pt")
    assert held.epoch == 3
    assert held.training["processes"] == 2
