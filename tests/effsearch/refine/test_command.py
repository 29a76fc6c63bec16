"""`effsearch run --refine`, on a real local Ray."""

from __future__ import annotations

import html
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from effsearch.training import checkpoint as checkpoints
from searchspace import Architecture

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def base(squares, quick, tmp_path_factory):
    recipe = tmp_path_factory.mktemp("recipe") / "quick.yaml"
    quick.to_yaml(recipe)
    return [
        sys.executable, "-m", "effsearch", "run", "--budget-ms", "1.1", "--device", "iphone12",
        "--space", "tiny", "--trials", "120", "--workers", "1", "--winners", "2", "--refine", "3",
        "--data", str(squares), "--refine-recipe", str(recipe), "--json",
    ]  # fmt: skip


def call(*arguments):
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def order(summary):
    names = ("digest", "rank_by_score", "rank_by_training", "state", "curve")
    return [[row[name] for name in names] for row in summary["refined"]["networks"]]


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "whole"
    return folder, *call(*base, "--refine-concurrent", "1", "--out", folder)


def test_winners_are_ordered_by_training_and_carry_its_weights(whole):
    folder, summary, said = whole
    refined = summary["refined"]
    assert refined["taken"] == 3
    assert refined["unit"] == "top-1 in % on squares0"
    assert "is not ImageNet" in summary["statement"]
    assert "at most" in said
    assert "Traceback" not in said
    rows = {row["digest"]: row for row in refined["networks"]}
    candidates = [row["digest"] for row in refined["networks"] if not row["baseline"]]
    assert [w["digest"] for w in summary["winners"]] == candidates[:2]
    for winner in summary["winners"]:
        place = folder / winner["path"]
        card = json.loads((place / "card.json").read_text())
        row = rows[winner["digest"]]
        held = checkpoints.load(place / "model.pt")
        assert held.digest == winner["digest"]
        assert held.top1 == card["trained"]["value"] == row["top1"] == winner["trained"]["top1"]
        assert card["trained"]["kind"] == "measured"
        assert "squares0" in card["onnx"]["weights"]
        assert card["onnx"]["output"] == ["logits", [1, 3]]
        assert Architecture.from_yaml(place / "architecture.yaml").digest() == winner["digest"]
    page = (folder / "report.html").read_text()
    assert refined["sureness"] in html.unescape(page)
    (folder / "report.html").unlink()
    again, _ = call(sys.executable, "-m", "effsearch", "report", folder, "--json")
    assert again["refined"] == refined
    assert (folder / "report.html").read_text() == page


def test_a_killed_run_goes_on_to_the_same_ranking(base, whole, tmp_path):
    folder = tmp_path / "killed"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*base, "--refine-concurrent", "1", "--out", str(folder)], stdout=log, stderr=log
        )
        journal = folder / "refine" / "results.jsonl"
        deadline = time.monotonic() + 240
        # In the second training, wherever that is.
        while time.monotonic() < deadline and not (
            journal.exists() and len({e["digest"] for e in _lines(journal)}) > 1
        ):
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    done = len(_lines(journal))
    summary, said = call(
        sys.executable, "-m", "effsearch", "run", "--resume", folder, "--workers", "1", "--json"
    )
    assert order(summary) == order(whole[1])
    assert done < len(_lines(journal))
    assert re.search(r"training [123] of 4 networks", said)


def _lines(path):
    found = []
    for line in path.read_text().splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def test_many_at_a_time_and_more_than_were_found(base, tmp_path):
    changed = [*base]
    changed[changed.index("--refine") + 1] = "500"
    changed[changed.index("--trials") + 1] = "18"
    summary, said = call(*changed, "--refine-concurrent", "2", "--out", tmp_path / "run")
    refined = summary["refined"]
    assert refined["taken"] < 500
    assert f"--refine 500: the search found {refined['taken']} candidates" in said
    assert any(f"found {refined['taken']} within" in note for note in summary["notes"])
    assert all(row["state"] in ("finished", "stopped") for row in refined["networks"])
    assert "2 trainings at a time" in said


def test_ctrl_c_keeps_what_was_trained(base, tmp_path):
    folder, log = tmp_path / "run", tmp_path / "log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*base, "--refine-concurrent", "1", "--out", str(folder)],
            stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip
        journal = folder / "refine" / "results.jsonl"
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and not (journal.exists() and _lines(journal)):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(timeout=120)
    text = log.read_text()
    assert code == 130, text
    assert f"--resume {folder}" in text
    assert "Traceback" not in text
