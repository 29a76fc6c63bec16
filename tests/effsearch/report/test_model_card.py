"""Model cards say what card.json says, and nothing else."""

import json

import numpy as np
import onnx
import pytest

from effsearch.export.files import write_export
from effsearch.export.request import ExportRequest
from effsearch.export.weights import Accuracy, Weights
from effsearch.published import published
from effsearch.report.export_card import write_export_card
from effsearch.run.cards import number
from effsearch.run.winner_folder import write_winner
from effsearch.training.checkpoint import save_network
from effsearch.training.official import official
from searchspace import SearchSpace, build

FACTS = {
    "rank": 2,
    "space": "tiny",
    "budget_ms": 1.5,
    "latency": {
        "device": "box",
        "mean": number(1.234, "ms", "measured", 0.1),
        "quantile": number(1.4, "ms", "measured", probability=0.9),
        "table": {"kind": "measured", "os": None, "runtime": "ONNX Runtime"},
        "held_out_error": {},
    },
    "score": {
        "source": "imagenet",
        "value": number(71.5, "ImageNet-1k top-1, %", "estimated", 1.0),
        "lower_bound": number(70.25, "ImageNet-1k top-1, %", "estimated"),
        "held_out_error": {},
        "note": "A note.",
    },
}


@pytest.fixture
def architecture():
    return SearchSpace.load("tiny").sample(np.random.default_rng(0)).renamed("box-winner-2")


@pytest.fixture
def winner(architecture, tmp_path):
    write_winner(tmp_path / "run" / "winners" / "2", architecture, FACTS)
    return tmp_path / "run" / "winners" / "2"


def test_a_winner_s_card_says_what_is_known_of_it(winner, architecture):
    page = (winner / "model_card.md").read_text()
    for text in (
        "# box-winner-2",
        "Winner 2 of a search for box within 1.5 ms in the space tiny",
        "1.23 ms (measured; 80 % interval 1.11 to 1.36) on box",
        "With a probability of 90% it takes at most 1.40 ms",
        "a table (measured; ONNX Runtime)",
        "71.50 ImageNet-1k top-1, % (estimated; 80 % interval 70.22 to 72.78); lower bound 70.25",
        "Untrained: it classifies nothing yet.",
        "| card.json |",
    ):
        assert text in page
    for stage in architecture.stages:
        for block in stage.blocks:
            assert f"{block.depth} {block.type}" in page
    assert json.loads((winner / "card.json").read_text())["files"].keys() == {
        "architecture.yaml", "model.onnx", "model_card.md",
    }  # fmt: skip


def test_a_trained_winner_s_card_has_what_was_measured(architecture, tmp_path):
    network = build(architecture, 4)
    save_network(network, tmp_path / "held.pt", True)
    weights = Weights(
        network.eval(),
        "trained somewhere",
        tmp_path / "held.pt",
        lambda model: Accuracy("pictures", 3, 4, "pictures alone", {}),
        labels=("a", "b", "c", "d"),
    )
    trained = number(80.0, "top-1 in % on pictures", "measured", 2.0, error="one seed", note="No.")
    facts = {
        **FACTS,
        "trained": {**trained, "epochs": 3, "epochs_max": 4},
        "measured": number(1.5, "ms", "measured", interval=(1.4, 1.6)),
        "latency_elsewhere": [{"device": "phone", "mean": number(2.5, "ms", "fitted", 0.1)}],
        "peak_memory": number(2e6, "bytes", "counted", 0.0, note="of activations"),
        "params": number(5e6, "parameters", "counted", 0.0),
        "macs": number(3e8, "multiply-accumulates", "counted", 0.0),
    }
    write_winner(tmp_path / "1", architecture, facts, weights=weights)
    page = (tmp_path / "1" / "model_card.md").read_text()
    for text in (
        "| weights | trained somewhere |",
        "80.00 top-1 in % on pictures (measured; 80 % interval 77.44 to 82.56)",
        "The exported model: 75.00 top-1 % on pictures",
        "On phone: 2.50 ms (fitted; 80 % interval 2.37 to 2.63)",
        "On the machine of the search: 1.50 ms (measured; 80 % interval 1.40 to 1.60)",
        "logits of 4 classes: a, b, c, d.",
        "| model.pt |",
        "not recorded here",
    ):
        assert text in page
    assert "Untrained" not in page
    assert json.loads((tmp_path / "1" / "card.json").read_text())["labels"] == list("abcd")
    held = {e.key: e.value for e in onnx.load(tmp_path / "1" / "model.onnx").metadata_props}
    assert json.loads(held["labels"]) == list("abcd")


def test_what_a_card_lacks_its_page_does_not_say(architecture, tmp_path):
    write_winner(tmp_path / "1", architecture, {})
    page = (tmp_path / "1" / "model_card.md").read_text()
    assert "`effsearch predict . --device DEVICE` predicts it" in page
    assert "`effsearch score .` estimates it" in page
    assert " ms" not in page


def test_an_export_of_a_winner_has_what_the_search_found(winner, tmp_path):
    out = tmp_path / "net.onnx"
    write_export_card(write_export(ExportRequest(str(winner), out=out, card=True)))
    page = (tmp_path / "net.onnx.card.md").read_text()
    card = json.loads((tmp_path / "net.onnx.card.json").read_text())
    assert "Winner 2 of a search for box within 1.5 ms in the space tiny, as ONNX" in page
    assert card["latency"]["mean"]["value"] == 1.234
    assert (card["export"]["path"], card["labels"]) == (str(out), None)
    assert card["input"]["mean"] == [0.485, 0.456, 0.406]
    assert "onnx" not in card
    # At another size it is another network: what was found does not hold.
    other = tmp_path / "other.onnx"
    request = ExportRequest(str(winner), out=other, resolution="96", card=True)
    write_export_card(write_export(request))
    assert "latency" not in json.loads((tmp_path / "other.onnx.card.json").read_text())


@pytest.mark.parametrize("format_", ["onnx", "python", "torch"])
def test_labels(format_, architecture, tmp_path):
    save_network(build(architecture, 3), tmp_path / "a.pt", True, {"labels": ["a|b", "c", "d"]})
    request = ExportRequest(str(tmp_path / "a.pt"), format_, tmp_path / "b", card=True)
    write_export_card(write_export(request))
    page = (tmp_path / "b.card.md").read_text()
    assert r"logits of 3 classes: a\|b, c, d." in page
    assert "Untrained" not in page
    card = json.loads((tmp_path / "b.card.json").read_text())
    assert card["labels"] == ["a|b", "c", "d"]
    network = build(architecture, 3)
    assert card["params"]["value"] == sum(part.numel() for part in network.parameters())


def test_a_package_that_takes_pixels_says_so(architecture, tmp_path):
    pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    save_network(build(architecture, 2), tmp_path / "a.pt", False, {"labels": ["a", "b"]})
    out = tmp_path / "b.mlpackage"
    request = ExportRequest(str(tmp_path / "a.pt"), "coreml", out, precision="float32", card=True)
    write_export_card(write_export(request))
    page = (tmp_path / "b.mlpackage.card.md").read_text()
    assert "The file takes the pixels and does this itself." in page
    assert "outputs are label, label_probs, probabilities in place of logits" in page


def test_what_was_published_of_a_network(tmp_path):
    request = ExportRequest("shvit_s1", "torch", tmp_path / "a.pt", card=True)
    write_export_card(write_export(request))
    page = (tmp_path / "a.pt.card.md").read_text()
    assert f"Published: {published()['shvit_s1'].top1:.1f} % ImageNet-1k top-1" in page
    assert f"the repository's licence is {official('shvit_s1').origin.licence}" in page
    assert "Untrained" in page
