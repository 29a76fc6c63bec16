"""Runs for several devices, and with limits on memory and size."""

import csv
import io
import json
from contextlib import redirect_stderr, redirect_stdout

import pytest

from effsearch.cli import main
from effsearch.latency import DeviceTable
from searchspace import Architecture, operators
from searchspace.operators import peak_bytes

ASKED = (
    "run", "--budget-ms", 1.2, "--device", "iphone12", "--space", "small", "--workers", 1,
    "--trials", 120, "--consider", 3000, "--winners", 2, "--also", "epyc-zen5-1t=2.0",
    "--watch", "iphone13", "--max-memory", 1.5, "--max-size", 20,
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as exit_:
        main([str(x) for x in (*ASKED, "--out", folder)])
    assert exit_.value.code == 0, err.getvalue()
    return folder, out.getvalue()


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def test_winners_and_baselines_meet_every_limit(finished):
    folder, _ = finished
    body = summary(folder)
    host, phone = DeviceTable.load("epyc-zen5-1t"), DeviceTable.load("iphone13")
    assert len(body["winners"]) == 2
    for row in body["winners"]:
        network = Architecture.from_yaml(folder / row["path"] / "architecture.yaml")
        deployed = operators(network, "deploy")
        assert host.predict(network).quantile(0.8) <= 2.0
        assert row["peak_memory_bytes"] == peak_bytes(deployed) <= 1.5e6
        assert row["weight_bytes"] == sum(o.weight_bytes for o in deployed) <= 20e6
        here, there = row["elsewhere"]
        assert (here["device"], there["device"]) == ("epyc-zen5-1t", "iphone13")
        assert there["mean_ms"] == pytest.approx(phone.predict(network).mean_ms)
        card = json.loads((folder / row["path"] / "card.json").read_text())
        assert card["peak_memory"]["value"] == row["peak_memory_bytes"]
        assert [c["budget_ms"] for c in card["latency_elsewhere"]] == [2.0, None]
    for name in ("baseline", "baseline_scaled"):
        row = body[name]
        if row is not None:
            assert row["quantile_ms"] <= 1.2
            assert row["elsewhere"][0]["quantile_ms"] <= 2.0
            assert row["peak_memory_bytes"] <= 1.5e6


def test_the_best_that_is_recorded_within_all_limits_wins(finished):
    folder, _ = finished
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    fits = [
        float(r["quantile_ms"]) <= 1.2
        and float(r["quantile_ms on epyc-zen5-1t"]) <= 2.0
        and int(r["memory_bytes"]) <= 1.5e6
        and int(r["size_bytes"]) <= 20e6
        for r in rows
    ]
    assert [r["feasible"] == "1" for r in rows] == fits
    found = [
        r
        for r, fit in zip(rows, fits, strict=True)
        if fit and r["origin"] not in ("published", "scaled")
    ]
    best = max(found, key=lambda r: float(r["lower_bound"]))
    assert summary(folder)["winners"][0]["digest"] == best["digest"]


def test_every_device_is_shown(finished):
    folder, out = finished
    page = (folder / "report.html").read_text()
    for text in (out, page):
        assert "epyc-zen5-1t" in text
        assert "iphone13" in text
    assert [(d["device"], d["budget_ms"]) for d in summary(folder)["also"]] == [
        ("epyc-zen5-1t", 2.0), ("iphone13", None),
    ]  # fmt: skip


def test_it_resumes_and_another_budget_is_another_question(finished, effsearch):
    folder, _ = finished
    before = [(w["digest"], w["mean_ms"]) for w in summary(folder)["winners"]]
    status, _, err = effsearch("run", "--resume", folder, "--workers", 1)
    assert status == 0, err
    assert [(w["digest"], w["mean_ms"]) for w in summary(folder)["winners"]] == before
    status, _, err = effsearch("run", "--resume", folder, "--also", "epyc-zen5-1t=3")
    assert status == 2
    assert err.count("\n") == 1
    assert "--also, --watch: epyc-zen5-1t=3 differs from epyc-zen5-1t=2, iphone13" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--also", "iphone21=2"), "device 'iphone21' is unknown; did you mean"),
        (("--watch", "pixel6"), "did you mean pixel6cpu?"),
        (("--also", "iphone13"), "--also: 'iphone13' is not DEVICE=MS"),
        (("--also", "iphone12=3"), "--also: iphone12 is named twice"),
        (("--also", "iphone13=2", "--also", "iphone13=3"), "--also: iphone13 is named twice"),
        (("--max-memory", "0"), "--max-memory: 0.0 is not a positive number of MB"),
        (("--max-size", "nan"), "--max-size: nan is not a positive number of MB"),
    ],
)
def test_a_wrong_request_is_one_line(options, words, effsearch, tmp_path):
    status, _, err = effsearch(
        "run", "--budget-ms", 1, "--device", "iphone12", "--out", tmp_path / "r", *options
    )
    assert status == 2
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("options", "binds"),
    [
        (("--also", "iphone13=0.05", "--also", "iphone14=50"), "the budget of iphone13"),
        (("--budget-ms", 0.01, "--also", "iphone13=50"), "the budget of iphone12"),
        (("--max-memory", 0.001), "the limit on activations"),
        (("--max-size", 0.001, "--watch", "iphone13"), "the limit on weights"),
    ],
)
def test_where_nothing_fits_what_binds_is_named(options, binds, effsearch, tmp_path):
    status, _, err = effsearch(
        "run", "--budget-ms", 1, "--device", "iphone12", "--space", "tiny", "--workers", 1,
        "--trials", 40, "--out", tmp_path / "r", *options,
    )  # fmt: skip
    assert status == 3
    assert f"What binds is {binds} (exceeded by" in err
    assert summary(tmp_path / "r")["fastest"]["binds"] is not None


def test_slow_scores_meet_every_budget_too(effsearch, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "def score(network):\n    return sum(s.width * s.depth for s in network.stages)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "r"
    status, body, err = effsearch(
        "run", "--budget-ms", 1.2, "--device", "iphone12", "--space", "small", "--workers", 1,
        "--trials", 60, "--winners", 1, "--also", "epyc-zen5-1t=1.5", "--score", "mine:score",
        "--out", folder, "--json",
    )  # fmt: skip
    assert status == 0, err
    assert body["winners"][0]["elsewhere"][0]["quantile_ms"] <= 1.5
    with (folder / "trials.csv").open(newline="") as file:
        rows = [r for r in csv.DictReader(file) if r["origin"] in ("sampled", "evolved")]
    assert sum(r["feasible"] == "1" for r in rows) > 0.8 * len(rows)
