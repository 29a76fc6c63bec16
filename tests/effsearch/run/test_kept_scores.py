"""Slow scores over runs: the same result with those of earlier runs as without."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from effsearch.cli import main

# Notes each call in a file, as workers are processes of their own; fails for some networks.
SCORES = """
import math
from pathlib import Path

def size(architecture):
    with open(Path(__file__).with_name("calls.txt"), "a") as file:
        file.write(architecture.digest() + "\\n")
    if architecture.depth % 5 == 0:
        raise RuntimeError("no such depth")
    return 10 * math.log(sum(stage.width * stage.depth for stage in architecture.stages)) / 3
"""
OPTIONS = (
    "--budget-ms 0.6 --device iphone12 --space tiny --trials 40 --winners 2 --workers 2 --json"
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "noting_scores.py").write_text(SCORES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("noting_scores", None)


def run(capsys, out, *more):
    arguments = ["run", *OPTIONS.split(), "--score", "noting_scores:size", "--out", out, *more]
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    said = capsys.readouterr()
    assert ended.value.code == 0, said.err
    with (out / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return json.loads(said.out)["winners"], rows, said.err


def test_what_was_scored_is_not_scored_again_and_changes_no_result(folder, capsys):
    calls = folder / "calls.txt"
    first = run(capsys, folder / "a")
    assert "came from earlier runs" not in first[2]
    failed = sum(row["state"] == "failed" for row in first[1])
    assert 0 < failed < len(first[1]) == 40
    calls.unlink()
    second = run(capsys, folder / "b")
    assert second[:2] == first[:2]
    assert f"{40 - failed} scores came from earlier runs ({folder}/home/scores/" in second[2]
    tried = 1  # a function is called once before a search
    assert len(calls.read_text().splitlines()) == failed + tried
    calls.unlink()
    anew = run(capsys, folder / "c", "--no-cache")
    assert anew[:2] == first[:2]
    assert "came from earlier runs" not in anew[2]
    assert len(calls.read_text().splitlines()) == 40 + tried


def test_a_changed_function_is_scored_by_anew_and_damage_is_told(folder, capsys):
    run(capsys, folder / "a")
    (kept,) = (folder / "home" / "scores").iterdir()
    kept.write_text(kept.read_text() + "damage\n")
    said = run(capsys, folder / "b")[2]
    assert f"{kept}: 1 damaged lines are left out" in said
    (folder / "noting_scores.py").write_text(SCORES.replace("/ 3", "/ 4"))
    sys.modules.pop("noting_scores")
    assert "came from earlier runs" not in run(capsys, folder / "c")[2]
