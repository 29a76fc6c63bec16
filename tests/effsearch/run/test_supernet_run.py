"""A search by a supernet: scores, resume, winners with inherited weights, and bad requests."""

import dataclasses
import json
import math
import re

import numpy as np
import onnxruntime as ort
import pytest
import torch
from PIL import Image

from effsearch.accuracy.registry import load_source
from effsearch.accuracy.supernet_options import SupernetOptions
from effsearch.cli import main
from effsearch.run.request import SearchRequest
from effsearch.search.evaluation import EvaluatorSpec
from effsearch.search.ray_executor import RayExecutor
from effsearch.training import checkpoint
from effsearch.training import recipe as recipes
from effsearch.training.data import pixels
from effsearch.training.data.augment import prepare
from effsearch.training.data.readers import create_reader
from effsearch.training.supernet import state as states
from effsearch.training.supernet.evaluate import InheritedScorer
from effsearch.training.supernet.run import SupernetConfig
from effsearch.training.supernet.trainer import train
from searchspace import Architecture, SearchSpace, UserError
from tests.fixtures.score_contract import keeps_the_contract

RECIPE = {
    "image_side": 32,
    "source_side": 16,
    "early_side": 0,
    "batch_size": 16,
    "epochs": 10,
    "warmup_epochs": 0.5,
}


def write_images(root, classes=("blue", "green", "red"), train=16, val=10):
    """Write a tree of noisy colours: learnt in seconds, though not to perfection."""
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val)):
        for label, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                values = rng.normal(100 + 25 * label, 60, (16, 16, 3))
                Image.fromarray(values.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
    return root


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images") / "colours")


@pytest.fixture(scope="module")
def trained(tree, tmp_path_factory):
    torch.set_num_threads(1)
    recipe = recipes.load("supernet-cpu").replace(**RECIPE)
    space = SearchSpace.load("tiny")
    out = tmp_path_factory.mktemp("supernet")
    config = SupernetConfig(space, tree, out, recipe, device="cpu")
    return train(config, lambda line: None).checkpoint


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


BASE = ("run", "--device", "iphone12", "--budget-ms", 5, "--trials", 12, "--winners", 2)


@pytest.fixture(scope="module")
def finished(trained, tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    arguments = (*BASE, "--workers", 1, "--json", "--proxy", "supernet", "--checkpoint", trained)
    arguments += ("--data", tree, "--recalibration-batches", 1, "--out", folder)
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    assert caught.value.code == 0
    return folder


def test_candidates_are_scored_by_inherited_weights(finished, trained, tree):
    summary = json.loads((finished / "summary.json").read_text())
    assert summary["space"] == "tiny"
    assert summary["failed"] == 0
    assert summary["score"]["kind"] == "inherited"
    assert summary["score"]["unit"] == "top-1 % on colours with inherited weights"
    assert "ImageNet" in summary["score"]["note"]
    page = (finished / "report.html").read_text()
    assert "Measured on 30 validation images of colours with the weights of the supernet" in page
    assert "that of drawing 30 validation images" in page
    source = load_source(
        "supernet",
        SupernetOptions(checkpoint=trained, data=tree, recalibration_batches=1, device="cpu"),
    )
    path = finished / "winners" / "1" / "architecture.yaml"
    assert source.score(Architecture.from_yaml(path)).score == pytest.approx(
        summary["winners"][0]["score"]
    )


def test_the_source_keeps_the_contract(trained, tree, tmp_path):
    source = load_source("supernet", SupernetOptions(checkpoint=trained, data=tree, device="cpu"))
    rng = np.random.default_rng(0)
    one, other = source.space.sample(rng), source.space.sample(rng)
    keeps_the_contract(source, "supernet", one, other)
    source.check(SearchSpace.load("tiny"))
    weights = source.weights_for(one, 50.0, tmp_path)
    assert checkpoint.load(weights.checkpoint).digest == one.digest()


def test_winners_classify_as_their_cards_state(finished, tree):
    reader = create_reader(tree, "val")
    split = pixels.load(reader, RECIPE["source_side"])
    rates = []
    for rank in (1, 2):
        folder = finished / "winners" / str(rank)
        card = json.loads((folder / "card.json").read_text())
        stated = card["onnx"]["accuracy"]
        session = ort.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        side = session.get_inputs()[0].shape[-1]
        assert card["onnx"]["input"][1][-1] == side == stated["preprocessing"]["input_px"]
        right = 0
        for x, label in zip(prepare(split.images, side), split.labels.tolist(), strict=True):
            logits = session.run(["logits"], {"input": x[None].numpy()})[0]
            assert stated["classes"][int(np.argmax(logits))] in reader.classes
            right += int(np.argmax(logits)) == label
        assert stated["correct"] == right
        assert stated["images"] == len(split) == 30
        assert stated["value"] == pytest.approx(100 * right / 30)
        assert card["score"]["value"]["value"] == pytest.approx(stated["value"])
        assert "not trained further" in card["onnx"]["weights"]
        held = checkpoint.load(folder / "model.pt")
        assert held.classes == reader.classes
        rates.append(stated["value"])
    assert max(rates) > 50  # chance is 33.3


def test_a_resumed_run_measures_nothing_twice(finished, tree, trained, capsys, monkeypatch):
    before = json.loads((finished / "summary.json").read_text())
    monkeypatch.setattr(InheritedScorer, "evaluate", lambda *a: pytest.fail("measured again"))
    again = ("run", "--resume", finished, "--json", "--workers", 1)
    code, out, _ = call(capsys, *again, "--checkpoint", trained, "--data", tree)
    assert code == 0
    after = json.loads(out)
    assert [w["digest"] for w in after["winners"]] == [w["digest"] for w in before["winners"]]
    # The study is not needed either: scores are there by digest.
    code, out, err = call(capsys, *again, "--images", 3)
    assert code == 2
    assert "--images: 3 differs from None" in err
    code, out, err = call(capsys, *again, "--data", tree.parent)
    assert code == 2
    assert "--data" in err


def test_a_changed_checkpoint_is_not_resumed(finished, trained, tree, capsys, tmp_path):
    request, fingerprints = SearchRequest.read(finished)
    held = states.load(trained)
    name = next(iter(held.weights))
    held.weights[name].add_(1)
    held.save(tmp_path / "other.pt")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "space.yaml").write_text((finished / "space.yaml").read_text())
    options = request.options.model_copy(update={"checkpoint": tmp_path / "other.pt"})
    dataclasses.replace(request, options=options).write(folder, fingerprints)
    code, _, err = call(capsys, "run", "--resume", folder)
    assert code == 2
    assert "the proxy supernet changed" in err


def test_score_command(finished, trained, tree, capsys):
    target = finished / "winners" / "1" / "architecture.yaml"
    given = ("--proxy", "supernet", "--checkpoint", trained, "--data", tree)
    code, out, _ = call(capsys, "score", target, *given, "--images", 12, "--json")
    assert code == 0
    row = json.loads(out)["scores"][0]
    assert (row["source"], row["kind"]) == ("supernet", "inherited")
    assert 0 <= row["score"] <= 100
    share = row["score"] / 100
    assert row["std"] == pytest.approx(100 * math.sqrt(max(share * (1 - share), 1e-6) / 12))
    code, _, err = call(capsys, "score", target, "shvit_s1", *given)
    assert code == 2
    assert "shvit_s1: not in the space tiny" in err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--checkpoint": None}, "needs --checkpoint FILE"),
        ({"--data": None}, "needs --data DIR"),
        ({"--checkpoint": "none.pt"}, "none.pt does not exist"),
        ({"--proxy": "macs"}, "is for --proxy supernet"),
        ({"--images": 0}, "--images: 0 is not"),
        ({"--recalibration-batches": 0}, "--recalibration-batches: 0 is not"),
        ({"--space": "small"}, r"another space \(tiny\) than small: \S+ is .* there and .* here"),
    ],
)
def test_bad_requests_end_before_the_search(changes, message, trained, tree, capsys, tmp_path):
    given = {"--proxy": "supernet", "--checkpoint": trained, "--data": tree, **changes}
    options = [str(x) for pair in given.items() if pair[1] is not None for x in pair]
    out = tmp_path / "out"
    code, _, err = call(capsys, *BASE, *options, "--out", out)
    assert code == 2
    assert re.search(message, err), err
    assert err.count("\n") == 1
    assert not out.exists()


def test_data_of_other_classes(trained, capsys, tmp_path):
    other = write_images(tmp_path / "other", ("cat", "dog", "eel"), train=2, val=1)
    given = ("--proxy", "supernet", "--checkpoint", trained, "--data", other)
    code, _, err = call(capsys, *BASE, *given, "--out", tmp_path / "out")
    assert code == 2
    assert "other classes than the supernet was trained on" in err


def test_out_of_memory_says_the_batch_size(trained, tree, monkeypatch):
    source = load_source("supernet", SupernetOptions(checkpoint=trained, data=tree, device="cpu"))

    def fail(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr(InheritedScorer, "try_batch", fail)
    with pytest.raises(UserError, match=r"at batch size 256 and 32 px; try fewer --workers"):
        source.check(source.space)


@pytest.mark.slow
def test_ray_scores_the_same(trained, tree):
    spec = EvaluatorSpec(
        "iphone12",
        "supernet",
        0.8,
        SupernetOptions(
            checkpoint=trained, data=tree, images=12, recalibration_batches=1, device="cpu"
        ),
    )
    rng = np.random.default_rng(0)
    networks = [SearchSpace.load("tiny").sample(rng) for _ in range(3)]
    executor = RayExecutor(spec, 1)
    try:
        found = [outcome for part in executor.start(networks) for outcome in part]
    finally:
        executor.close()
    here = spec.make()(networks)
    assert [(o.score, o.score_std) for o in found] == [(o.score, o.score_std) for o in here]
    assert all(not outcome.error for outcome in found)
