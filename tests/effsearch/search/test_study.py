"""The study on disk: what a reader finds, and what a kill leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from effsearch.latency.catalogue import SHIPPED
from effsearch.search.candidates import PUBLISHED, SAMPLED, Candidate, Outcome, Record
from effsearch.search.study import FILE, NAME, StudyStore
from searchspace import SearchSpace, UserError, zoo


@pytest.fixture
def records(tiny, evaluator):
    rng = np.random.default_rng(0)
    candidates = [Candidate(tiny.sample(rng), SAMPLED) for _ in range(12)]
    candidates.append(Candidate(zoo.load("shvit_s1"), PUBLISHED, "shvit_s1", member=False))
    found = []
    for number, candidate in enumerate(candidates):
        outcome = evaluator.evaluate(candidate.architecture)
        found.append(Record(number, number // 5, candidate, outcome, {"latency": 0.1 - number}))
    broken = Outcome(mean_ms=1.5, std_ms=0.1, quantile_ms=1.6, error="no score")
    found.append(Record(len(found), 2, Candidate(tiny.sample(rng), SAMPLED), broken, {}))
    return found


def same(found, expected):
    assert [repr(r.outcome) for r in found] == [repr(r.outcome) for r in expected]
    assert [r.candidate for r in found] == [r.candidate for r in expected]
    assert [(r.number, r.batch, dict(r.excess)) for r in found] == [
        (r.number, r.batch, dict(r.excess)) for r in expected
    ]


def test_records_come_back(tiny, records, tmp_path):
    store = StudyStore(tmp_path, tiny)
    store.add(records[:5])
    store.add(records[5:])
    same(store.records(), records)
    store.close()
    again = StudyStore(tmp_path, tiny)
    same(again.records(), records)
    again.close()


def test_plain_optuna_reads_the_study(tiny, records, tmp_path):
    store = StudyStore(tmp_path, tiny)
    store.add(records)
    store.close()
    path = str(tmp_path / FILE)
    storage = JournalStorage(JournalFileBackend(path, JournalFileOpenLock(path)))
    study = optuna.load_study(study_name=NAME, storage=storage)
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    first = study.trials[0]
    axes = set(tiny.axes)
    assert set(first.params) <= axes
    assert len(first.params) >= 5
    assert first.values == [records[0].outcome.lower_bound, records[0].outcome.quantile_ms]
    assert list(first.constraints.values()) == [0.1]
    assert first.system_attrs["constraints"] == [0.1]  # what optuna-dashboard reads
    within = [t.number for t in study.trials if t.values and max(t.constraints.values()) <= 0]
    assert within == [r.number for r in records if r.feasible]
    assert study.best_trials
    assert {t.number for t in study.best_trials} <= set(within)
    assert study.trials[-1].state == optuna.trial.TrialState.FAIL
    assert study.trials[12].params == {}


@pytest.mark.parametrize("tail", [b'{"op_code":4,"wor', b"\x00\x00\x00", b'{"op_code":4}garbage\n'])
def test_a_torn_last_line_is_cut_off(tiny, records, tmp_path, tail):
    store = StudyStore(tmp_path, tiny)
    store.add(records)
    store.close()
    with (tmp_path / FILE).open("ab") as file:
        file.write(tail)
    (tmp_path / f"{FILE}.lock").touch()
    again = StudyStore(tmp_path, tiny)
    same(again.records(), records)
    new = Candidate(zoo.load("shvit_s2"), PUBLISHED, "shvit_s2", member=False)
    again.add([Record(len(records), 3, new, records[0].outcome, {})])
    assert len(again.records()) == len(records) + 1
    again.close()


def test_one_process_at_a_time(tiny, tmp_path):
    store = StudyStore(tmp_path, tiny)
    with pytest.raises(UserError, match="another process"):
        StudyStore(tmp_path, tiny)
    store.close()
    StudyStore(tmp_path, tiny).close()


def test_trials_of_another_space_are_refused(tiny, records, tmp_path):
    store = StudyStore(tmp_path, tiny)
    store.add(records)
    store.close()
    other = StudyStore(tmp_path, SearchSpace.load("mobile"))
    with pytest.raises(UserError, match=r"not in the space|not of the space"):
        other.records()
    other.close()


def counted(text):
    return [int(m) for m in re.findall(r"^(\d+)/\d+ candidates", text, re.MULTILINE)]


@pytest.mark.parametrize("after", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_kill_9_loses_nothing_that_was_counted(tmp_path, after):
    """Kills a run once the progress line has counted candidates, and continues it."""
    out = tmp_path / "run"
    log = tmp_path / "log.txt"
    command = [sys.executable, "-m", "effsearch", "run"]
    phone = tmp_path / "phone.json"
    phone.write_bytes((SHIPPED / "iphone12.json").read_bytes())
    options = ["--budget-ms", "2", "--device", str(phone), "--space", "small", "--workers", "1"]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [
                *command,
                *options,
                "--trials",
                "100000",
                "--consider",
                "1",
                "--proxy",
                "macs",
                "--out",
                str(out),
            ],
            stderr=stream,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "EFFSEARCH_PROGRESS_SECONDS": "0"},
        )
        deadline = time.monotonic() + 240
        while len(counted(log.read_text())) < after and time.monotonic() < deadline:
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    promised = counted(log.read_text())[-1]
    assert promised > 0
    lines = (out / FILE).read_bytes().splitlines()
    trials = sum(json.loads(line).get("op_code") == 4 for line in lines[:-1])
    store = StudyStore(out, SearchSpace.load(out / "space.yaml"))
    kept = store.records()
    store.close()
    assert len(kept) >= promised
    assert len(kept) >= trials
    total = str(len(kept) + 20)
    done = subprocess.run(
        [*command, "--resume", str(out), "--trials", total, "--workers", "1", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["candidates"] == len(kept) + 20
    assert f"resuming after {len(kept)} candidates" in done.stderr


@pytest.mark.parametrize("line", ["[]", "3", '"text"', "null", "{}", '{"op_code": 99}', "again"])
def test_lines_that_are_no_entries_or_twice_there_are_told(tiny, records, tmp_path, line):
    store = StudyStore(tmp_path, tiny)
    store.add(records)
    store.close()
    lines = (tmp_path / FILE).read_text().splitlines()
    lines.insert(-2, lines[-2] if line == "again" else line)
    (tmp_path / FILE).write_text("\n".join(lines) + "\n")

    def read():
        again = StudyStore(tmp_path, tiny)
        try:
            return again.records()
        finally:
            again.close()

    with pytest.raises(UserError, match=r"damaged|twice"):
        read()
