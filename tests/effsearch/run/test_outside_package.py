"""What another package registers by entry points works like what is ours."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from effsearch.accuracy import registry
from searchspace import Architecture, UserError, zoo
from tests.fixtures.score_contract import keeps_the_contract

PACKAGE = Path(__file__).parents[2] / "example_plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the example package is installed in, as pip would without a network."""
    site = tmp_path_factory.mktemp("site")
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    shutil.copyfile(PACKAGE / "example_plugin.py", site / "example_plugin.py")
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return site


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
