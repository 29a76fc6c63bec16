"""What the package offers at its top, on a search that takes seconds."""

import gc
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch

import effsearch
from effsearch.api import Result
from effsearch.errors import NoArchitectureFitsError
from searchspace import SearchSpace, UserError, zoo
from searchspace.drawing import architecture_html, in_words

ASKED = {"space": "tiny", "consider": 2000, "trials": 40, "winners": 2, "seed": 3}


@pytest.fixture(scope="module")
def result():
    return effsearch.find("iphone12", 1.2, **ASKED)


def test_winners_are_those_of_the_run_s_files(result):
    rows = json.loads((result.folder / "summary.json").read_text())["winners"]
    assert [w.architecture.digest() for w in result.winners] == [row["digest"] for row in rows]
    assert [w.latency.mean_ms for w in result.winners] == [row["mean_ms"] for row in rows]
    first = result.winners[0]
    assert first.latency.quantile_ms <= 1.2
    assert first.score.lower_bound >= result.winners[1].score.lower_bound
    assert (first.folder / "model.onnx").is_file()
    logits = first.build(7).eval()(torch.zeros(1, 3, *2 * [first.architecture.resolution]))
    assert logits.shape == (1, 7)
    with pytest.raises(UserError, match="was not trained"):
        first.trained()


def test_numbers_are_what_the_functions_say(result):
    first = result.winners[0]
    prediction = effsearch.predict(first.architecture, "iphone12")
    assert first.latency.mean_ms == pytest.approx(prediction.mean_ms, rel=1e-6)
    assert first.latency.interval_ms == pytest.approx(prediction.interval_ms, rel=1e-6)
    assert first.score == pytest.approx(effsearch.score(first.architecture), rel=1e-6)
    assert effsearch.predict(first.folder, "iphone12") == prediction
    number = result.trials.loc[result.trials["digest"] == first.architecture.digest(), "number"]
    assert effsearch.predict(f"{result.folder}#{number.iloc[0]}", "iphone12") == prediction


def test_tables_have_the_networks(result):
    for frame in (result.trials, result.front):
        digests = [architecture.digest() for architecture in frame["architecture"]]
        assert digests == list(frame["digest"])
        assert frame["stem"].str.match(r"\w+ /\d+ @\d+").all()
        assert frame["widths"].str.match(r"\d+(-\d+)*$").all()
    members = result.trials[~result.trials["origin"].isin(["published", "scaled"])]
    assert all(a in SearchSpace.load("tiny") for a in members["architecture"])


def test_baselines_come_with_their_networks(result):
    assert result.baseline.architecture == zoo.load(result.baseline.name)
    assert result.baseline.latency.quantile_ms <= 1.2


def test_the_same_seed_finds_the_same(result):
    again = effsearch.find("iphone12", 1.2, **ASKED)
    assert [w.architecture for w in again.winners] == [w.architecture for w in result.winners]


def test_a_temporary_run_ends_with_its_result(result, tmp_path):
    shutil.copytree(result.folder, tmp_path / "a")
    temporary = tempfile.TemporaryDirectory()
    held, place = Result(tmp_path / "a", temporary), Path(temporary.name)
    del temporary
    assert place.exists()
    del held
    gc.collect()
    assert not place.exists()


def test_what_is_saved_is_loaded(result, tmp_path):
    saved = result.save(tmp_path / "run")
    assert f"train {tmp_path / 'run'}" in saved.report().read_text()
    assert saved.folder == tmp_path / "run"
    assert repr(effsearch.load(tmp_path / "run")) == repr(result)
    assert saved.report().read_text().startswith("<!doctype html>")
    saved.report().unlink()
    assert saved.report().is_file()
    with pytest.raises(UserError, match="exists; name a new folder"):
        result.save(tmp_path / "run")
    with pytest.raises(UserError, match="not a finished run"):
        effsearch.load(tmp_path)


def test_the_picture_is_a_figure(result):
    figure = result.plot()
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())
    assert len(np.unique(pixels.reshape(-1, 4), axis=0)) > 20


def test_what_is_printed_fits_and_names_every_network(result):
    lines = repr(result).splitlines()
    assert lines[0] == "Result on iphone12 within 1.2 ms"
    assert in_words(result.winners[0].architecture) in lines[1]
    assert result.baseline.name in result._repr_html_()
    assert result.summary["score"]["unit"] in result._repr_html_()
    prediction = effsearch.predict("shvit_s1", "iphone12")
    assert repr(prediction).startswith("Prediction(iphone12: ")
    assert prediction._repr_html_().count("<tr>") == 1 + len(prediction.stages())


@pytest.mark.parametrize("name", zoo.names())
def test_a_drawing_has_a_box_a_block(name):
    import xml.etree.ElementTree as ElementTree

    architecture = zoo.load(name)
    drawing = ElementTree.fromstring(architecture_html(architecture))
    boxes = [e for e in drawing.iter() if e.tag.endswith("rect")]
    assert len(boxes) == architecture.depth + 1
    assert name in repr(architecture)
    assert "\n" not in repr(architecture)
    assert f"{architecture.resolution} px" in repr(architecture)


def test_further_devices_and_own_networks_are_asked_for(tmp_path):
    mine = SearchSpace.load("small").nearest(zoo.load("shvit_s1")).renamed("mine")
    mine.to_yaml(tmp_path / "mine.yaml")
    result = effsearch.find(
        "iphone12", 1.2, **ASKED, also={"epyc-zen5-1t": 2.0}, watch=["iphone13"],
        max_memory_mb=2.0, max_size_mb=30, enqueue=[tmp_path / "mine.yaml"],
    )  # fmt: skip
    for row in result.summary["winners"]:
        assert row["elsewhere"][0]["quantile_ms"] <= 2.0
        assert row["peak_memory_bytes"] <= 2e6
        assert row["weight_bytes"] <= 30e6
    assert [row["name"] for row in result.summary["yours"]] == ["mine"]


def test_mistakes_are_named():
    with pytest.raises(UserError, match="did you mean iphone12"):
        effsearch.find("iphone112", 1.0)
    with pytest.raises(UserError, match="--budget-ms: -1"):
        effsearch.find("iphone12", -1)
    with pytest.raises(NoArchitectureFitsError):
        effsearch.find("iphone12", 0.01, **ASKED)
    with pytest.raises(UserError, match="shvit_s9"):
        effsearch.score("shvit_s9")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = effsearch.nothing


def test_devices_are_the_command_s():
    assert {row["name"] for row in effsearch.devices()} >= {"iphone12", "pixel6cpu"}


def test_a_network_is_measured():
    measured = effsearch.measure(SearchSpace.load("tiny").sample(np.random.default_rng(0)))
    assert 0 < measured.low_ms <= measured.median_ms <= measured.high_ms


def test_importing_the_package_imports_nothing_heavy():
    code = "import effsearch, sys; print(sorted({'torch', 'optuna', 'pandas'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
