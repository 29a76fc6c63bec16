import json
import os
import signal
import time

import pytest
import typer
from typer.testing import CliRunner

from effsearch.cli import train as command
from effsearch.training import checkpoint as checkpoints
from effsearch.training.recipe import Recipe
from searchspace.errors import UserError
from tests.fixtures.tasks import ROWS, write_masks, write_network

ARCHITECTURE = """\
resolution: 64
stem: {type: shvit, stride: 16, width: 16}
stages:
- width: 16
  blocks:
  - {type: shvit_conv, depth: 1, expansion: 2.0, kernel: 3}
head: {type: shvit}
"""


@pytest.fixture
def invoke(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    from PIL import Image

    for split, count in (("train", 8), ("val", 4)):
        for label, colour in enumerate(("red", "green")):
            folder = tmp_path / "tree" / split / f"class{label}"
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (16, 16), colour).save(folder / f"{index}.png")
    (tmp_path / "tiny.yaml").write_text(ARCHITECTURE)
    Recipe(epochs=2, batch_size=8, image_side=32, source_side=16, warmup_epochs=0.5).to_yaml(
        tmp_path / "quick.yaml"
    )
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    base = ["--data", str(tmp_path / "tree"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    base += ["--recipe", str(tmp_path / "quick.yaml")]

    def run(*arguments, target=str(tmp_path / "tiny.yaml")):
        result = CliRunner().invoke(app, ["train", target, *base, *arguments])
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


def test_json_holds_the_result_and_the_checkpoint_loads(invoke):
    result = invoke("--json", "--epochs", "1")
    body = json.loads(result.stdout)
    assert (body["epochs"], body["device"]) == (1, "cpu")
    assert checkpoints.load(body["checkpoint"]).top1 == pytest.approx(body["top1"])


def test_resume_goes_on_to_the_last_epoch(invoke):
    assert invoke().exit_code == 0
    with pytest.raises(UserError, match="resume it with --resume"):
        invoke()
    assert "after 2 epochs" in invoke("--resume").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--device", "tpu"], "choose auto, cpu or cuda"),
        (["--workers", "-1"], "must be 0 or more"),
        (["--epochs", "0"], "epochs: 0 is not 1 or more"),
        (["--teacher", "none.pt"], "does not exist"),
        (["--init", "none.pt"], "checkpoint none.pt does not exist"),
        (["--init", "official"], "only published networks have an official checkpoint"),
        (["--freeze-stages", "1"], "--freeze-stages is for weights that are there; name some with"),
        (["--layer-decay", "0.5"], "--layer-decay is for weights that are there; name some with"),
        (["--init", "a.pt", "--freeze-stages", "-1"], "must be 0 or more"),
    ],
)
def test_bad_requests(invoke, arguments, message):
    with pytest.raises(UserError, match=message):
        invoke(*arguments)


def test_ctrl_c_before_the_first_epoch_is_done(invoke, monkeypatch):
    def interrupted(config, meter):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

    monkeypatch.setattr("effsearch.training.trainer.train", interrupted)
    result = invoke()
    assert result.exit_code == 130
    assert result.stderr.endswith("stopped; no epoch was done, so the same command begins anew\n")


def test_one_training_starts_from_another(invoke, tmp_path):
    assert invoke("--epochs", "1").exit_code == 0
    (tmp_path / "out").rename(tmp_path / "first")
    first = tmp_path / "first" / "model.pt"
    result = invoke("--init", str(first), "--freeze-stages", "1", "--layer-decay", "0.5", "--json")
    assert f"starting from {first}, 2 classes; its classifier is kept" in result.stderr
    facts = json.loads(result.stdout)["start"]
    assert (facts["weights"], facts["freeze_stages"]) == (str(first), 1)
    held = checkpoints.load(tmp_path / "out" / "model.pt")
    assert held.start == facts
    kept = checkpoints.load(first).state_dict["stem.0.conv.weight"]
    assert (held.state_dict["stem.0.conv.weight"] == kept).all()
    wider = ARCHITECTURE.replace("width: 16", "width: 24")
    (tmp_path / "wider.yaml").write_text(wider)
    with pytest.raises(UserError, match=r"its stem\.width is 16, the target's 24"):
        invoke("--init", str(first), target=str(tmp_path / "wider.yaml"))


def test_an_onnx_file_is_no_target(invoke):
    with pytest.raises(UserError, match="not an ONNX file"):
        invoke(target="network.onnx")


def test_resolution_sets_the_source_of_the_crops(invoke):
    body = json.loads(invoke("--json", "--resolution", "64", "--epochs", "1").stdout)
    # The recipe enlarges 16 px images, and goes on doing so.
    held = checkpoints.load(body["checkpoint"]).recipe
    assert (held.image_side, held.source_side) == (64, 16)


def test_a_rectangle_trains(invoke):
    body = json.loads(invoke("--json", "--resolution", "32x64", "--epochs", "1").stdout)
    held = checkpoints.load(body["checkpoint"]).recipe
    assert (held.image_side, held.source_side) == ((32, 64), (11, 23))
    with pytest.raises(UserError, match=r"--resolution: 64x is not an integer from 32"):
        invoke("--resolution", "64x")


@pytest.fixture
def segment(effsearch, tmp_path):
    """Train the tiny segmentation network by the command line; returns status, body, errors."""
    write_masks(tmp_path / "masks")
    write_network("segmentation", tmp_path / "network.yaml")
    ROWS["segmentation"].recipe.replace(epochs=2).to_yaml(tmp_path / "recipe.yaml")
    options = {
        "data": tmp_path / "masks", "out": tmp_path / "segmented", "task": "segmentation",
        "recipe": tmp_path / "recipe.yaml", "device": "cpu",
    }  # fmt: skip

    def run(*more, target=tmp_path / "network.yaml", **changes):
        given = {k: v for k, v in {**options, **changes}.items() if v is not None}
        words = [word for name, value in given.items() for word in (f"--{name}", value)]
        return effsearch("train", target, *words, *more, "--json")

    return run


def test_segmentation_says_miou(segment, tmp_path):
    status, body, errors = segment()
    assert status == 0
    assert body["task"] == "segmentation"
    assert 0 < body["miou"] <= 100
    assert body["miou_std"] > 0
    assert f"mIoU {body['miou']:.2f} %" in errors
    held = checkpoints.load(body["checkpoint"])
    assert held.classes == ("ground", "box", "crate")
    assert "classes: 3" in held.architecture
    status, again, errors = segment("--resume")
    assert (status, again["miou"]) == (0, body["miou"])
    assert f"resuming after epoch 2, mIoU {body['miou']:.2f} %" in errors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "depth"}, "--task: depth is unknown; use one of classification, segmentation"),
        ({"task": None}, "a segmentation network, and --task classification takes one"),
        ({"target": "shvit_s1"}, "shvit_s1: a classification network, and --task segmentation"),
        ({"resolution": "32x68"}, "32x72 would do"),
        ({"target": "efficientvit_seg_b0_cityscapes", "resolution": "32"}, "2x2 is the least"),
        ({"recipe": "small"}, "mix_probability, randaugment_ops, erasing_probability must be 0"),
        ({"data": "tree"}, "classes.txt"),
        ({"init-backbone": "none.pt"}, "checkpoint none.pt does not exist"),
        ({"teacher": "none.pt"}, "--teacher: there is no distillation for segmentation"),
    ],
)
def test_bad_requests_of_segmentation_are_one_line(
    segment, tmp_path, monkeypatch, changes, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tree").mkdir()
    status, _, errors = segment(**changes)
    assert status == 2
    assert message in errors
    assert len(errors.strip().splitlines()) == 1
    assert not (tmp_path / "segmented").exists()


def test_a_classifier_comes_in_by_init_backbone_only(invoke, segment, tmp_path):
    write_network("classification", tmp_path / "class.yaml")
    invoke("--epochs", "1", target=str(tmp_path / "class.yaml"))
    classifier = tmp_path / "out" / "model.pt"
    status, _, errors = segment(target=classifier)
    assert status == 2
    assert "give a classifier's checkpoint as --init-backbone" in errors
    status, _, errors = segment("--resume", out=tmp_path / "out")
    assert status == 2
    assert "checkpoint of another architecture" in errors
    status, fresh, _ = segment()
    status, started, _ = segment(out=tmp_path / "started", **{"init-backbone": classifier})
    assert status == 0
    assert started["val_loss"] != fresh["val_loss"]
