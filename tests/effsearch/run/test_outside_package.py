"""What another package registers by entry points works like what is ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from effsearch.accuracy import registry
from searchspace import Architecture, UserError, zoo
from tests.fixtures.outside_package import SPACE, install
from tests.fixtures.score_contract import keeps_the_contract


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return install(tmp_path_factory.mktemp("package") / "site")


@pytest.fixture
def registered(installed, monkeypatch):
    monkeypatch.syspath_prepend(installed)
    registry.entries.cache_clear()
    yield registry
    monkeypatch.undo()
    registry.entries.cache_clear()


def call(site, *arguments):
    path = os.pathsep.join([str(site), *filter(None, sys.path)])
    return subprocess.run(
        [sys.executable, "-m", "effsearch", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


def test_its_score_source_keeps_the_contract(registered):
    source = registered.load_source("widest")
    keeps_the_contract(source, "widest", zoo.load("shvit_s1"), zoo.load("shvit_s2"))
    assert "widest" in registered.names()


def test_what_cannot_be_loaded_says_so_when_it_is_asked_for(registered):
    assert registered.load_source("macs").name == "macs"
    with pytest.raises(UserError, match=r"broken: .* of the package example-plugin cannot be"):
        registered.load_source("broken")


def test_a_run_searches_with_its_score_source(installed, tmp_path):
    out = tmp_path / "run"
    done = call(
        installed, "run", "--device", "iphone12", "--space", "tiny", "--budget-ms", 0.6,
        "--trials", 60, "--winners", 2, "--workers", 2, "--proxy", "widest", "--power", 0.5,
        "--out", out, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["proxy"] == "widest"
    assert summary["score"]["unit"] == "channels"
    assert json.loads((out / "request.json").read_text())["options"] == {"power": 0.5}
    for winner in summary["winners"]:
        network = Architecture.from_yaml(out / winner["path"] / "architecture.yaml")
        assert winner["score"] == pytest.approx(network.stages[-1].width ** 0.5)
    again = call(installed, "run", "--resume", out, "--power", 1)
    assert again.returncode == 2
    assert "--power: 1.0 differs from 0.5" in again.stderr
    without = call("", "run", "--resume", out)
    assert without.returncode == 2
    assert "widest: no such score source" in without.stderr


def test_a_run_searches_a_space_with_its_block_and_exports_the_winners(installed, tmp_path):
    out = tmp_path / "run"
    done = call(
        installed, "run", "--device", "iphone12", "--space", SPACE, "--budget-ms", 0.6,
        "--trials", 30, "--winners", 2, "--workers", 1, "--proxy", "widest", "--out", out, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    winners = json.loads(done.stdout)["winners"]
    assert winners
    for winner in winners:
        assert "gated_conv" in winner["blocks"]
        assert (out / winner["path"] / "model.onnx").is_file()
    path = out / winners[0]["path"] / "architecture.yaml"
    # Here, where the package is not installed, the file says what it lacks.
    with pytest.raises(UserError, match="gated_conv' is unknown"):
        Architecture.from_yaml(path)
    exported = call(installed, "export", path, "--out", tmp_path / "winner.onnx")
    assert exported.returncode == 0, exported.stderr
    assert "ONNX Runtime agrees with PyTorch" in exported.stdout
