"""`effsearch run`: a whole run, and what a wrong request is told."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import searchspace
from effsearch.cli import main
from effsearch.latency import DeviceTable
from effsearch.latency.catalogue import SHIPPED
from effsearch.search.evaluation import EvaluatorSpec
from searchspace import Architecture, SearchSpace, UserError, build, zoo


@pytest.fixture(scope="module")
def phone(tmp_path_factory):
    """A copy of a shipped table, which stays as it is for the length of a test."""
    path = tmp_path_factory.mktemp("table") / "phone.json"
    path.write_bytes((SHIPPED / "iphone12.json").read_bytes())
    return str(path)


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return caught.value.code, out, err


BASE = ("run", "--space", "tiny", "--workers", 1, "--json")


@pytest.fixture(scope="module")
def finished(phone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    with pytest.raises(SystemExit) as caught:
        main(
            [
                str(a)
                for a in (
                    *BASE,
                    "--budget-ms",
                    0.6,
                    "--device",
                    phone,
                    "--trials",
                    500,
                    "--winners",
                    3,
                    "--out",
                    folder,
                )
            ]
        )
    assert caught.value.code == 0
    return folder


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_folder_has_what_the_contract_says(finished):
    names = {p.name for p in finished.iterdir()}
    assert {"summary.json", "trials.csv", "front.csv", "pareto.png", "report.html"} <= names
    assert (finished / "study.log").stat().st_size > 0
    summary = json.loads((finished / "summary.json").read_text())
    trials = rows(finished / "trials.csv")
    assert summary["candidates"] == len(trials) == summary["scored"] + summary["failed"]
    assert {"digest", "mean_ms", "std_ms", "score", "params", "macs", "state"} <= set(trials[0])
    assert (finished / "pareto.png").read_bytes().startswith(b"\x89PNG")
    assert [w["path"] for w in summary["winners"]] == [f"winners/{k}" for k in (1, 2, 3)]


def test_winners_meet_the_budget_and_are_what_they_say(finished, phone):
    summary = json.loads((finished / "summary.json").read_text())
    table = DeviceTable.load(phone)
    tiny = SearchSpace.load("tiny")
    for winner in summary["winners"]:
        folder = finished / winner["path"]
        architecture = Architecture.from_yaml(folder / "architecture.yaml")
        assert architecture.digest() == winner["digest"]
        assert architecture in tiny
        prediction = table.predict(architecture)
        assert prediction.quantile(0.8) <= 0.6
        assert prediction.mean_ms == pytest.approx(winner["mean_ms"], rel=1e-8)
        network = build(architecture)
        assert sum(p.numel() for p in network.parameters()) == winner["params"]
        session = ort.InferenceSession(folder / "model.onnx")
        image = np.zeros((1, 3, 64, 64), np.float32)
        assert session.run(["logits"], {"input": image})[0].shape == (1, 1000)
        card = json.loads((folder / "card.json").read_text())
        assert card["onnx"]["parity"]["value"] <= 1e-4
        assert "untrained" in card["onnx"]["weights"]


def test_every_number_of_a_card_has_a_kind(finished):
    card = json.loads((finished / "winners" / "1" / "card.json").read_text())

    def check(node, path):
        if isinstance(node, dict):
            if "value" in node and not isinstance(node["value"], dict):
                assert node["kind"] in {
                    "measured",
                    "fitted",
                    "transferred",
                    "estimated",
                    "counted",
                }, path
                assert "std" in node or "error" in node, path
            for name, child in node.items():
                check(child, f"{path}.{name}")
        elif isinstance(node, list):
            for child in node:
                check(child, path)

    check(card, "card")
    assert card["latency"]["mean"]["kind"] in ("fitted", "transferred")


def test_published_networks_are_priced_exactly_and_compared_with(finished, phone):
    trials = {r["source"]: r for r in rows(finished / "trials.csv") if r["origin"] == "published"}
    assert set(trials) == set(zoo.names())
    table = DeviceTable.load(phone)
    for name, row in trials.items():
        assert float(row["mean_ms"]) == pytest.approx(table.predict(zoo.load(name)).mean_ms)
    fits = [r for r in trials.values() if float(r["quantile_ms"]) <= 0.6]
    summary = json.loads((finished / "summary.json").read_text())
    if not fits:
        assert summary["baseline"] is None
        assert summary["gain"] is None
    else:
        expected = max(fits, key=lambda r: float(r["score"]))["source"]
        assert summary["baseline"]["name"] == expected


def test_the_report_can_be_made_again(finished, capsys):
    before = (finished / "report.html").read_text()
    for name in ("report.html", "pareto.png"):
        (finished / name).unlink()
    code, out, _ = call(capsys, "report", finished, "--json")
    assert code == 0
    assert len(json.loads(out)["files"]) == 2
    assert (finished / "report.html").read_text() == before
    assert (finished / "pareto.png").exists()


def test_a_finished_run_can_be_resumed_and_comes_out_the_same(finished, capsys):
    before = json.loads((finished / "summary.json").read_text())
    trials = (finished / "trials.csv").read_text()
    code, out, err = call(capsys, "run", "--resume", finished, "--workers", 1, "--json")
    assert code == 0, err
    after = json.loads(out)
    for body in (before, after):
        body.pop("seconds")
    assert {k: after[k] for k in before} == before
    assert (finished / "trials.csv").read_text() == trials


def test_json_is_all_there_is_on_stdout(phone, capsys, tmp_path):
    code, out, err = call(
        capsys, *BASE, "--budget-ms", 1, "--device", phone, "--trials", 60, "--winners", 1,
        "--out", tmp_path / "r",
    )  # fmt: skip
    assert code == 0
    body = json.loads(out)
    assert body["seed"] == 0
    assert body["device"] == "phone"
    assert "networks considered" in err


def test_a_budget_that_nothing_meets_is_exit_3(phone, capsys, tmp_path):
    out = tmp_path / "r"
    code, shown, err = call(
        capsys, *BASE, "--budget-ms", 0.01, "--device", phone, "--trials", 600, "--out", out
    )
    assert code == 3
    assert "Traceback" not in err
    summary = json.loads((out / "summary.json").read_text())
    fastest = min(
        float(r["mean_ms"]) for r in rows(out / "trials.csv") if r["origin"] != "published"
    )
    assert f"takes {fastest:.3f} ms" in err
    assert "stage 1" in err
    assert summary["winners"] == []
    assert summary["fastest"]["mean_ms"] == pytest.approx(fastest)
    assert json.loads(shown)["fastest"] == summary["fastest"]
    assert call(capsys, "report", out)[0] == 0


@pytest.mark.parametrize("trials", [1, 40])
@pytest.mark.parametrize(("budget", "fit"), [(0.2, 0), (1.7, 3)])
def test_where_nothing_fits_the_published_networks_that_do_are_named(
    phone, capsys, tmp_path, trials, budget, fit
):
    table = DeviceTable.load(phone)
    priced = {name: table.predict(zoo.load(name)) for name in zoo.names()}
    order = sorted(priced, key=lambda name: priced[name].mean_ms)
    fits = [name for name in order if priced[name].quantile(0.999) <= budget]
    assert (len(fits) >= fit) if fit else not fits
    code, _, err = call(
        capsys, *BASE, "--budget-ms", budget, "--device", phone, "--trials", trials,
        "--consider", 1, "--confidence", 0.999, "--space", slow_space(tmp_path),
        "--out", tmp_path / "r",
    )  # fmt: skip
    assert code == 3
    if trials == 1:
        assert "was tried" in err
    else:
        assert "is 99.9% likely to take" in err
        assert "100%" not in err
    if fits:
        named = ", ".join(f"{name} ({priced[name].mean_ms:.3f} ms)" for name in fits[:3])
        more = f" and {len(fits) - 3} more" if len(fits) > 3 else ""
        assert f"Published networks that fit: {named}{more}." in err
    else:
        fastest = f"{order[0]} ({priced[order[0]].mean_ms:.3f} ms)"
        assert f"No published network fits; the fastest is {fastest}." in err


def slow_space(folder):
    """The space `tiny`, of many blocks at 1024 px: nothing of it is fast."""
    text = (Path(searchspace.__file__).parent / "spaces" / "tiny.yaml").read_text()
    path = folder / "slow.yaml"
    text = re.sub(r"resolution: .*", "resolution: [1024]", text)
    path.write_text(re.sub(r"depth: .*", "depth: [8]", text))
    return path


def test_fewer_winners_than_were_asked_for_are_told(phone, capsys, tmp_path):
    code, out, _ = call(
        capsys, *BASE, "--budget-ms", 1, "--device", phone, "--trials", 30, "--winners", 50,
        "--confidence", 0.999, "--out", tmp_path / "r",
    )  # fmt: skip
    assert code == 0
    body = json.loads(out)
    found = len(body["winners"])
    assert 0 < found < 50
    said = f"50 winners were asked for; {found} that differ enough meet the limits."
    assert said in body["notes"]
    assert "99.9%" in (tmp_path / "r" / "report.html").read_text()
    code, out, _ = call(capsys, "run", "--resume", tmp_path / "r", "--workers", 1)
    assert code == 0
    assert said in out
    assert "99.9% confidence" in out


def test_the_evaluator_is_built_once(phone, capsys, tmp_path, monkeypatch):
    made = []
    make = EvaluatorSpec.make
    monkeypatch.setattr(EvaluatorSpec, "make", lambda self: made.append(self) or make(self))
    given = ("--budget-ms", 1, "--device", phone, "--trials", 40, "--winners", 1)
    assert call(capsys, *BASE, *given, "--out", tmp_path / "r")[0] == 0
    assert len(made) == 1
    assert call(capsys, "run", "--resume", tmp_path / "r", "--workers", 1)[0] == 0
    assert len(made) == 2


def test_limits_on_size_bind(phone, capsys, tmp_path):
    code, out, _ = call(
        capsys, *BASE, "--budget-ms", 1, "--device", phone, "--trials", 500, "--winners", 2,
        "--max-params", 0.25, "--max-macs", 12, "--out", tmp_path / "r",
    )  # fmt: skip
    assert code == 0
    winners = json.loads(out)["winners"]
    assert len(winners) == 2
    assert all(w["params"] <= 250_000 and w["macs"] <= 12_000_000 for w in winners)


def test_a_space_is_narrowed_without_a_file_also_when_resumed(phone, capsys, tmp_path):
    code, out, _ = call(
        capsys, *BASE, "--budget-ms", 1, "--device", phone, "--trials", 60, "--winners", 2,
        "--blocks", "efficient_mod,shsa", "--stem-strides", 8, "--out", tmp_path / "r",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["narrowing"]["blocks"] == ["efficient_mod", "shsa"]
    for winner in json.loads(out)["winners"]:
        network = Architecture.from_yaml(tmp_path / "r" / winner["path"] / "architecture.yaml")
        assert {b.type for s in network.stages for b in s.blocks} <= {"efficient_mod", "shsa"}
        assert network.stem.stride == 8
    again = call(capsys, "run", "--resume", tmp_path / "r", "--json")
    assert again[0] == 0
    assert json.loads(again[1])["winners"] == json.loads(out)["winners"]
    code, _, err = call(capsys, "run", "--resume", tmp_path / "r", "--blocks", "shsa")
    assert code == 2
    assert "--blocks" in err


GOOD = {"--budget-ms": "2", "--device": "iphone12", "--space": "tiny"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"--device": "iphone21"}, ["iphone21", "iphone12"]),
        ({"--device": None}, ["--device"]),
        ({"--blocks": "shsa,nope"}, ["--blocks", "nope", "shvit_conv"]),
        ({"--stem-strides": "8,x"}, ["--stem-strides", "'x'"]),
        ({"--resolution": "230"}, ["--resolution", "64"]),
        ({"--budget-ms": "0"}, ["--budget-ms"]),
        ({"--budget-ms": "-1"}, ["--budget-ms"]),
        ({"--budget-ms": "nan"}, ["--budget-ms"]),
        ({"--budget-ms": "fast"}, ["--budget-ms", "number"]),
        ({"--budget-ms": None}, ["--budget-ms"]),
        ({"--space": "tny"}, ["tny", "tiny"]),
        ({"--space": "no/such.yaml"}, ["no/such.yaml"]),
        ({"--proxy": "imagnet"}, ["imagnet", "imagenet"]),
        ({"--trials": "0"}, ["--trials"]),
        ({"--trials": "many"}, ["--trials"]),
        ({"--seed": "-3"}, ["--seed"]),
        ({"--confidence": "1"}, ["--confidence"]),
        ({"--workers": "0"}, ["--workers"]),
        ({"--engine": "rai"}, ["--engine", "ray"]),
        ({"--ray-address": "auto"}, ["--ray-address"]),
        ({"--out": "/proc/nowhere/run"}, ["--out"]),
        ({"--out": __file__}, ["--out"]),
        ({"--resume": "/nowhere"}, ["--resume"]),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(changes, words, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = {k: v for k, v in {**GOOD, **changes}.items() if v is not None}
    code, out, err = call(capsys, "run", *(x for pair in options.items() for x in pair))
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert "Traceback" not in err
    for word in words:
        assert word in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["{", "name: x", "- 1", "\x00"])
def test_a_broken_space_file_is_exit_2(text, capsys, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    code, _, err = call(
        capsys, "run", "--budget-ms", 2, "--device", "iphone12", "--space", path, "--out",
        tmp_path / "r",
    )  # fmt: skip
    assert code == 2
    assert "mine.yaml" in err
    assert not (tmp_path / "r").exists()


def test_resuming_what_is_no_run_or_another_question(finished, capsys, tmp_path):
    code, _, err = call(capsys, "run", "--resume", tmp_path)
    assert code == 2
    assert "not a run" in err
    code, _, err = call(capsys, "run", "--resume", finished, "--budget-ms", 3)
    assert code == 2
    assert "--budget-ms" in err
    assert "0.6" in err


def test_a_folder_that_is_not_empty_is_kept(finished, phone, capsys):
    code, _, err = call(capsys, *BASE, "--budget-ms", 1, "--device", phone, "--out", finished)
    assert code == 2
    assert "--resume" in err


def test_a_changed_table_ends_a_run(phone, capsys, tmp_path):
    table = tmp_path / "mine.json"
    body = json.loads((SHIPPED / "iphone12.json").read_text())
    table.write_text(json.dumps(body))
    out = tmp_path / "r"
    code, *_ = call(
        capsys, *BASE, "--budget-ms", 1, "--device", table, "--trials", 40, "--winners", 1,
        "--out", out,
    )  # fmt: skip
    assert code == 0
    body["date"] = "another day"
    table.write_text(json.dumps(body))
    code, _, err = call(capsys, "run", "--resume", out)
    assert code == 2
    assert "changed" in err


def test_report_of_what_is_no_run(tmp_path, capsys):
    assert call(capsys, "report", tmp_path)[0] == 2
    assert call(capsys, "report", tmp_path / "none")[0] == 2


def test_ctrl_c_saves_and_says_how_to_go_on(phone, tmp_path):
    out, log = tmp_path / "run", tmp_path / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "effsearch", "run", "--budget-ms", "2", "--device", phone,
             "--space", "tiny", "--workers", "2", "--trials", "447", "--out", str(out)],
            stderr=stream, stdout=stream, start_new_session=True,
            env={**os.environ, "EFFSEARCH_PROGRESS_SECONDS": "0"},
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while not (out / "study.log").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(timeout=120)
    text = log.read_text()
    assert code == 130, text
    assert f"--resume {out}" in text
    assert "Traceback" not in text


def test_requests_are_checked_in_python_too():
    from effsearch.run.request import SearchRequest

    with pytest.raises(UserError):
        SearchRequest("iphone12", -1.0)
