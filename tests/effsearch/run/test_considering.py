"""Runs that consider more networks than they record: numbers, resuming, Ctrl-C."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

import optuna
import pytest

from effsearch.cli import main

CONSIDER, TRIALS = 3000, 100
ASKED = (
    "run", "--budget-ms", 1.2, "--device", "iphone12", "--space", "small", "--workers", 1,
    "--trials", TRIALS, "--winners", 1,
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    out, err = io.StringIO(), io.StringIO()
    asked = [str(x) for x in (*ASKED, "--consider", CONSIDER, "--out", folder)]
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as exit_:
        main(asked)
    assert exit_.value.code == 0, err.getvalue()
    return folder, out.getvalue(), err.getvalue()


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


def what_was_found(folder):
    """Everything that the request decides."""
    body = summary(folder)
    kept = ("considered", "recorded", "within_budget", "gain_over_scaled", "baseline_scaled")
    winners = [{k: w[k] for k in ("digest", "mean_ms", "score")} for w in body["winners"]]
    return {k: body[k] for k in kept}, winners, (folder / "trials.csv").read_text()


def test_considered_and_recorded_are_shown_as_different_numbers(finished):
    folder, out, err = finished
    body = summary(folder)
    assert body["considered"] == CONSIDER
    with (folder / "trials.csv").open(newline="") as file:
        rows = len(list(csv.DictReader(file)))
    assert TRIALS / 2 < rows == body["recorded"] <= TRIALS
    assert f"{CONSIDER} networks considered" in out
    assert f"{rows} recorded" in out
    assert f"{CONSIDER}/{CONSIDER} networks" in err
    page = (folder / "report.html").read_text()
    assert f"{CONSIDER:,} networks of the space small considered" in page
    assert f"after {CONSIDER:,}" in page


def test_the_study_is_small_and_any_optuna_reads_it(finished):
    folder, _, _ = finished
    log = folder / "study.log"
    assert log.stat().st_size < 6000 * summary(folder)["recorded"]
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(log)))
    study = optuna.load_study(study_name="effsearch", storage=storage)
    assert len(study.trials) == summary(folder)["recorded"]
    inside = [trial for trial in study.trials if trial.params]
    assert all("stage1.width" in trial.params for trial in inside)
    widths = {repr(trial.distributions["stage1.width"]) for trial in inside}
    assert len(widths) == 1


def test_a_finished_run_considers_nothing_again(finished, effsearch, monkeypatch):
    folder, _, _ = finished
    before = what_was_found(folder)
    monkeypatch.setattr("effsearch.run.searching.search_by_totals", None)
    assert effsearch("run", "--resume", folder, "--workers", 1)[0] == 0
    assert what_was_found(folder) == before


@pytest.mark.slow
def test_more_may_be_considered_later(finished, effsearch, tmp_path):
    folder = tmp_path / "more"
    shutil.copytree(finished[0], folder)
    more = CONSIDER + 1000
    status, _, err = effsearch("run", "--resume", folder, "--consider", more, "--workers", 1)
    assert status == 0, err
    assert summary(folder)["considered"] == more
    old, new = (w["winners"][0]["score"] for w in (summary(finished[0]), summary(folder)))
    assert new >= old - 0.2
    assert summary(folder)["recorded"] >= summary(finished[0])["recorded"]


@pytest.mark.slow
def test_what_an_interrupted_run_lacks_is_found_again(finished, effsearch, tmp_path):
    """Ctrl-C while networks are considered; the rest is as if it had not been."""
    folder, log = tmp_path / "run", tmp_path / "log"
    command = [sys.executable, "-m", "effsearch", *map(str, ASKED), "--consider", str(CONSIDER)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [*command, "--out", str(folder)],
            stdout=stream, stderr=stream, start_new_session=True,
            env={**os.environ, "EFFSEARCH_PROGRESS_SECONDS": "0"},
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while b" networks  " not in log.read_bytes() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(timeout=120)
    text = log.read_text()
    assert code == 130, text
    assert f"--resume {folder}" in text
    assert "Traceback" not in text
    assert not (folder / "considered.json").exists()
    assert effsearch("run", "--resume", folder, "--workers", 1)[0] == 0
    assert what_was_found(folder) == what_was_found(finished[0])


@pytest.mark.slow
def test_more_workers_change_nothing(finished, effsearch, tmp_path):
    out = tmp_path / "two"
    asked = (*ASKED, "--workers", 2)
    status, _, err = effsearch(*asked, "--consider", CONSIDER, "--out", out)
    assert status == 0, err
    assert what_was_found(out) == what_was_found(finished[0])


@pytest.mark.parametrize("value", [0, -3, "many"])
def test_what_can_not_be_considered_is_told_in_one_line(effsearch, tmp_path, value):
    status, _, err = effsearch(*ASKED, "--consider", value, "--out", tmp_path / "o")
    assert status == 2
    assert "--consider" in err
    assert not (tmp_path / "o").exists()


def test_the_report_explains_the_first_winner(finished):
    folder, *_ = finished
    explain = summary(folder)["explain"]
    assert explain["changes"] > 20
    assert 0 < len(explain["savings"]) <= 10
    assert 0 < len(explain["gains"]) <= 10
    assert all(row["latency_ms"] < 0 for row in explain["savings"])
    assert all(row["lower_bound"] > 0 for row in explain["gains"])
    page = (folder / "report.html").read_text()
    assert "What one change of winner 1 would do" in page
    assert explain["gains"][0]["axis"] in page
