from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from effsearch.training import checkpoint as checkpoints
from effsearch.training.checkpoint import save_network, save_tensors
from effsearch.training.config import TrainConfig
from effsearch.training.cost import build_network
from effsearch.training.start_from import StartFrom, first_difference, start
from effsearch.training.trainer import train
from searchspace import Architecture, build, zoo
from searchspace.errors import UserError
from tests.fixtures.official import SMALLEST, write_official


def silent(line):
    del line


@pytest.fixture
def config(tree, architectures, tmp_path, quick):
    def make(**changes):
        fields = {
            "architecture": Architecture.from_yaml(architectures / "tiny16.yaml"),
            "data": tree,
            "out": tmp_path / "out",
            "recipe": quick,
            "device": "cpu",
        }
        return TrainConfig(**{**fields, **changes})

    return make


@pytest.fixture
def trained(config, tmp_path):
    """A checkpoint of one epoch, of the tree's three classes."""
    train(config(out=tmp_path / "first", stop_after=1), silent)
    return tmp_path / "first" / "model.pt"


def weights(folder):
    return checkpoints.load(folder / "model.pt").state_dict


def fresh(architectures, classes=("class0", "class1", "class2")):
    architecture = Architecture.from_yaml(architectures / "tiny16.yaml")
    return build_network(architecture, len(classes), seed=3), classes


def test_the_same_classes_keep_their_classifier(trained, architectures):
    network, classes = fresh(architectures)
    begun = start(StartFrom(str(trained)), network, classes)
    held = checkpoints.load(trained).state_dict
    assert all(torch.equal(held[key], value) for key, value in network.state_dict().items())
    assert begun.line == f"starting from {trained}, 3 classes; its classifier is kept"
    assert begun.facts["classifier"] == "kept"


@pytest.mark.parametrize("classes", [("a", "b", "c"), ("class0", "class1", "class2", "class3")])
def test_other_classes_get_a_new_classifier_and_nothing_else_is_new(
    trained, architectures, classes
):
    network, _ = fresh(architectures, classes)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    begun = start(StartFrom(str(trained)), network, classes)
    held = checkpoints.load(trained).state_dict
    for key, value in network.state_dict().items():
        source = before if key.startswith("head.linear.") else held
        assert torch.equal(source[key], value), key
    assert begun.line.endswith(f"3 classes; a new classifier for {len(classes)}")


def test_an_exported_file_and_an_official_one_are_starts_too(architectures, tmp_path, monkeypatch):
    source, classes = fresh(architectures)
    save_network(source, tmp_path / "exported.pt", trained=True)
    network, _ = fresh(architectures)
    start(StartFrom(str(tmp_path / "exported.pt")), network, classes)
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path / "home"))
    path = tmp_path / "home" / "checkpoints" / "swiftformer_xs.pth"
    # Weights do not depend on the resolution.
    target = replace(zoo.load("swiftformer_xs"), resolution=96, name="mine")
    with pytest.raises(UserError, match="`effsearch zoo get swiftformer_xs` gets it"):
        start(StartFrom("official"), build(target, 3), classes)
    published = write_official(path, "swiftformer_xs").state_dict()
    for wanted in ("official", str(path)):
        network = build(target, 3)
        begun = start(StartFrom(wanted), network, classes)
        own = network.state_dict()
        differing = {key for key in own if not torch.equal(own[key], published[key])}
        assert {key.rsplit(".", 1)[0] for key in differing} == {"head.linear", "head.distilled"}
        assert begun.facts["num_classes"] == 1000
    assert begun.line.startswith(f"starting from {path}, 1000 classes")


def test_an_official_segmentation_network_has_its_own_classes(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path))
    path = tmp_path / "checkpoints" / f"{SMALLEST}.pth"
    published = write_official(path, SMALLEST).state_dict()
    for wanted in ("official", str(path)):
        network = build(zoo.load(SMALLEST), 3)
        begun = start(StartFrom(wanted), network, ("road", "car", "sky"))
        own = network.state_dict()
        differing = {key for key in own if not torch.equal(own[key], published[key])}
        assert {key.rsplit(".", 1)[0] for key in differing} == {"head.classify"}
        assert begun.line.endswith("19 classes; a new classifier for 3")


def test_an_official_backbone_of_another_network_is_exported_first(tmp_path):
    path = tmp_path / "official.pth"
    source = write_official(path, "efficientvit_b0")
    network, classes = build(zoo.load(SMALLEST), 3), ("road", "car", "sky")
    with pytest.raises(UserError, match=r"no official .* of efficientvit_seg.*`effsearch export"):
        start(StartFrom(str(path), backbone=True), network, classes)
    save_network(source, tmp_path / "exported.pt", trained=True)
    start(StartFrom(str(tmp_path / "exported.pt"), backbone=True), network, classes)
    own, held = network.state_dict(), source.state_dict()
    assert all(torch.equal(own[key], held[key]) for key in own if key.startswith("stages."))


def test_what_is_no_start(trained, architectures, tmp_path):
    wide = build_network(Architecture.from_yaml(architectures / "tiny24.yaml"), 3)
    with pytest.raises(UserError, match=r"its stem\.width is 16, the target's 24$"):
        start(StartFrom(str(trained)), wide, ("a", "b", "c"))
    network, classes = fresh(architectures)
    with pytest.raises(UserError, match="only published networks have an official checkpoint"):
        start(StartFrom("official"), network, classes)
    with pytest.raises(UserError, match=r"none.pt does not exist"):
        start(StartFrom(str(tmp_path / "none.pt")), network, classes)
    save_tensors({"weights": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="official ones fit published networks, and the target is"):
        start(StartFrom(str(tmp_path / "other.pt")), network, classes)
    with pytest.raises(UserError, match="--freeze-stages is 3; the network has 2 stages"):
        start(StartFrom(str(trained), freeze_stages=3), network, classes)
    with pytest.raises(UserError, match="--freeze-stages is -1; it must be 0 or more"):
        StartFrom("a.pt", freeze_stages=-1)
    for rate in (0.0, 1.5, float("nan")):
        with pytest.raises(UserError, match=r"--layer-decay is .*; it must be above 0, at most 1"):
            StartFrom("a.pt", layer_decay=rate)


def test_the_first_difference_of_networks():
    small, large = zoo.load("shvit_s1"), zoo.load("shvit_s2")
    assert first_difference(small, small) == ""
    assert first_difference(small, replace(small, resolution=96, name="other")) == ""
    assert first_difference(small, large) == "its stages[1].width is 308, the target's 224"
    other = first_difference(small, zoo.load("efficientvit_b1"))
    assert other == "its stem.type is efficientvit, the target's shvit"


def test_frozen_stages_keep_weights_and_statistics(config, trained, tmp_path):
    begin = StartFrom(str(trained), freeze_stages=1)
    train(config(out=tmp_path / "tuned", start=begin), silent)
    before, after = checkpoints.load(trained).state_dict, weights(tmp_path / "tuned")
    same = {key for key in after if torch.equal(before[key], after[key])}
    assert {key for key in after if key.startswith(("stem.", "stages.0."))} <= same
    rest = {key for key in after if key.startswith(("stages.1.", "head."))}
    assert {key for key in rest if key.endswith("running_mean")} & same == set()
    assert len(rest - same) > len(rest) / 2


def test_rates_fall_from_the_head_to_the_stem(trained, architectures):
    network, classes = fresh(architectures)
    begun = start(StartFrom(str(trained), layer_decay=0.5), network, classes)
    names = {parameter: name for name, parameter in network.named_parameters()}
    layers = {
        factor: {names[p].split(".blocks.")[0].split(".downsample.")[0] for p in held}
        for factor, held in begun.layers()
    }
    assert list(layers) == [1.0, 0.5, 0.25, 0.125]
    assert all(name.startswith("head.") for name in layers[1.0])
    assert (layers[0.5], layers[0.25]) == ({"stages.1"}, {"stages.0"})
    assert all(name.startswith("stem.") for name in layers[0.125])
    assert sum(len(held) for _, held in begun.layers()) == len(names)


def test_a_fine_tuning_resumes_to_the_bit(config, trained, tmp_path):
    begin = StartFrom(str(trained), freeze_stages=1, layer_decay=0.7)
    whole = train(config(out=tmp_path / "whole", start=begin), silent)
    again = train(config(out=tmp_path / "again", start=begin), silent)
    train(config(out=tmp_path / "parts", start=begin, stop_after=1), silent)
    parts = train(config(out=tmp_path / "parts", start=begin, resume=True), silent)
    assert whole.curve == again.curve == parts.curve
    states = [weights(tmp_path / name) for name in ("whole", "again", "parts")]
    for key, value in states[0].items():
        assert all(torch.equal(value, state[key]) for state in states[1:]), key
    held = checkpoints.load(tmp_path / "parts" / "model.pt")
    assert held.start == whole.start
    assert held.start["freeze_stages"] == 1
    assert len(held.start["sha256"]) == 64


def test_a_resumed_one_begins_as_before(config, trained, tmp_path):
    begin = StartFrom(str(trained), layer_decay=0.7)
    train(config(start=begin, stop_after=1), silent)
    trained.with_name("moved.pt").write_bytes(trained.read_bytes())
    moved = StartFrom(str(trained.with_name("moved.pt")), layer_decay=0.7)
    assert train(config(start=moved, resume=True, stop_after=2), silent).epochs == 2
    for other in (None, StartFrom(str(trained)), StartFrom(str(tmp_path / "out" / "model.pt"))):
        with pytest.raises(UserError, match=r"was begun with --init .*--layer-decay 0.7; resume"):
            train(config(start=other, resume=True), silent)


def test_a_rate_of_its_own_for_every_layer_is_what_adamw_takes(config, trained, tmp_path):
    # With a factor near nothing for all but the head, all but the head stay where they were.
    begin = StartFrom(str(trained), layer_decay=1e-6)
    train(config(out=tmp_path / "tuned", start=begin), silent)
    before, after = checkpoints.load(trained).state_dict, weights(tmp_path / "tuned")
    moved = {k: (after[k] - before[k]).abs().max().item() for k in after if k.endswith("weight")}
    assert moved["head.linear.weight"] > 1e-3
    assert max(v for k, v in moved.items() if not k.startswith("head.")) < 1e-6
