from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from effsearch.errors import WorkFailedError
from effsearch.run import winner_folder as winner
from effsearch.run.cards import number
from searchspace import Architecture, SearchSpace, build


@pytest.fixture
def architecture():
    return SearchSpace.load("tiny").sample(np.random.default_rng(0)).renamed("mine")


def test_a_folder_gives_back_the_network(architecture, tmp_path):
    card = winner.write_winner(tmp_path / "1", architecture, {"rank": 1})
    assert {p.name for p in (tmp_path / "1").iterdir()} == {
        "architecture.yaml", "model.onnx", "card.json", "model_card.md",
    }  # fmt: skip
    read = Architecture.from_yaml(tmp_path / "1" / "architecture.yaml")
    assert read.digest() == architecture.digest()
    assert json.loads((tmp_path / "1" / "card.json").read_text()) == json.loads(json.dumps(card))
    model = onnx.load(tmp_path / "1" / "model.onnx")
    onnx.checker.check_model(model)
    session = ort.InferenceSession(tmp_path / "1" / "model.onnx")
    logits = session.run(None, {"input": np.ones((1, 3, 64, 64), np.float32)})[0]
    assert np.isfinite(logits).all()
    assert logits.std() > 0


def test_the_same_seed_gives_the_same_weights(architecture, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        winner.write_winner(tmp_path / name, architecture, {}, seed)
    files = [(tmp_path / name / "model.onnx").read_bytes() for name in "abc"]
    assert files[0] == files[1] != files[2]


def test_given_weights_are_what_the_files_carry(architecture, tmp_path):
    torch.manual_seed(3)
    network = build(architecture, 7).eval()
    torch.save(network.state_dict(), tmp_path / "held.pt")
    weights = winner.Weights(network, "from somewhere", tmp_path / "held.pt")
    card = winner.write_winner(tmp_path / "1", architecture, {}, weights=weights)
    assert card["onnx"]["weights"] == "from somewhere"
    assert card["onnx"]["output"] == ["logits", [1, 7]]
    image = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    session = ort.InferenceSession(tmp_path / "1" / "model.onnx")
    with torch.no_grad():
        expected = network(torch.from_numpy(image)).numpy()
    found = session.run(None, {"input": image})[0]
    assert found == pytest.approx(expected, abs=1e-4 * float(expected.std()))
    assert (tmp_path / "1" / "model.pt").read_bytes() == (tmp_path / "held.pt").read_bytes()


def test_what_a_person_put_there_is_kept_beside(architecture, tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "mine.txt").touch()
    winner.write_winner(tmp_path / "1", architecture, {})
    assert not (tmp_path / "1" / "mine.txt").exists()
    assert (tmp_path / "1-kept" / "mine.txt").exists()
    assert (tmp_path / "1" / "card.json").exists()


def test_a_wrong_export_is_not_kept(architecture, tmp_path, monkeypatch):
    monkeypatch.setattr(winner, "check_onnx", lambda *args: 0.01)
    with pytest.raises(WorkFailedError, match="mine"):
        winner.write_winner(tmp_path / "1", architecture, {})
    assert not (tmp_path / "1").exists()


def test_a_number_has_its_interval():
    found = number(2.0, "ms", "fitted", 0.1)
    assert found["interval_80"] == pytest.approx([2 - 0.1282, 2 + 0.1282], abs=1e-3)
    assert number(2.0, "ms", "measured", interval=(1.9, 2.2))["interval_80"] == [1.9, 2.2]
