"""`effsearch run --storage`: several runs on one study, one of which is killed; wrong requests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import optuna
import pytest
from optuna.trial import TrialState

from effsearch.cli import main
from effsearch.search.shared import study as shared_study
from tests.fixtures.postgresql import postgresql  # noqa: F401

SCORES = """
import math
import time

def size(architecture):
    time.sleep(0.05)
    return 10 * math.log(sum(stage.width * stage.depth for stage in architecture.stages))
"""
BASE = ["run", "--budget-ms", "0.6", "--device", "iphone12", "--space", "tiny", "--winners", "1"]
OWN = ["--score", "waiting_scores:size", "--workers", "2", "--no-cache", "--study", "one"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "waiting_scores.py").write_text(SCORES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("waiting_scores", None)


def call(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    said = capsys.readouterr()
    return ended.value.code, said.out, said.err


def trials(url):
    return optuna.load_study(study_name="one", storage=url).get_trials()


@pytest.mark.slow
def test_a_killed_run_leaves_a_study_that_another_ends(folder, capsys, monkeypatch, postgresql):  # noqa: F811
    command = [sys.executable, "-m", "effsearch", *BASE, *OWN, "--storage", postgresql]
    url = postgresql.replace("postgresql:", "postgresql+psycopg:")
    first = subprocess.Popen(
        [*command, "--trials", "100000", "--out", "killed"],
        stderr=subprocess.PIPE, text=True, cwd=folder, start_new_session=True,
        env=os.environ | {"EFFSEARCH_PROGRESS_SECONDS": "0", "PYTHONPATH": ":".join(sys.path)},
    )  # fmt: skip
    for line in first.stderr:
        if line.partition("/")[0].isdigit() and int(line.partition("/")[0]) >= 10:
            break
    else:
        pytest.fail("the first run ended by itself")
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    left = trials(url)
    running = [t for t in left if t.state == TrialState.RUNNING]
    done = [t for t in left if t.state == TrialState.COMPLETE]
    assert running
    assert len(done) >= 10
    monkeypatch.setattr(shared_study, "GRACE_S", 2.0)
    wanted = len(done) + len(running) + 5
    options = [*BASE, *OWN, "--storage", postgresql, "--trials", wanted]
    code, out, err = call(capsys, *options, "--out", "second", "--json")
    assert code == 0, err
    assert json.loads(out)["recorded"] == wanted
    ended = trials(url)
    assert not any(t.state == TrialState.RUNNING for t in ended)
    told = [t.user_attrs["digest"] for t in ended if "outcome" in t.user_attrs]
    assert len(told) == len(set(told)) == wanted
    assert json.loads(out)["winners"][0]["digest"] in told

    code, again, err = call(capsys, *options, "--out", "third", "--json")
    assert code == 0, err
    assert json.loads(again)["winners"] == json.loads(out)["winners"]
    code, _, err = call(capsys, "run", "--resume", "second")
    assert code == 2
    assert "--storage: missing" in err
    more = ("--resume", "second", "--storage", postgresql, "--trials", wanted + 3, "--json")
    code, out, err = call(capsys, "run", *more, "--workers", 2)
    assert code == 0, err
    assert json.loads(out)["recorded"] == wanted + 3


@pytest.mark.parametrize(
    ("storage", "options", "words"),
    [
        ("postgresql://me:secret@127.0.0.1:1/db", OWN, ["127.0.0.1:1", "does not answer"]),
        ("postgresql://{deaf}/db", OWN, ["{deaf}", "does not answer"]),
        ("sqlite:///no/such/folder/study.db", OWN, ["study.db", "does not answer"]),
        ("sqlite://", OWN, ["sqlite", "postgresql://", "share"]),
        ("mysql://me@127.0.0.1/db", OWN, ["mysql", "postgresql://"]),
        ("here", OWN, ["not a database", "postgresql://"]),
        ("sqlite:///study.db", OWN[:-2], ["--study"]),
        ("sqlite:///study.db", ["--study", "one"], ["--storage", "imagenet", "slow"]),
        (None, OWN, ["--storage", "URL"]),
    ],
)
def test_bad_storages_are_one_line_and_exit_2(folder, capsys, storage, options, words):
    with socket.create_server(("127.0.0.1", 0)) as server:
        deaf = f"127.0.0.1:{server.getsockname()[1]}"
        given = [] if storage is None else ["--storage", storage.format(deaf=deaf)]
        code, out, err = call(capsys, *BASE, *options, *given, "--out", "run")
    assert code == 2, err
    assert out == ""
    assert len(err.strip().splitlines()) == 1, err
    assert all(word.format(deaf=deaf) in err for word in words), err
    assert "secret" not in err
    assert not (folder / "run").exists()


def test_a_missing_driver_names_the_extra(folder, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    code, _, err = call(capsys, *BASE, *OWN, "--storage", "postgresql://me@127.0.0.1:1/db")
    assert code == 2
    assert "pip install 'effsearch[postgresql]'" in err


def test_a_run_with_a_study_of_its_own_takes_no_storage(folder, capsys):
    own = ["--trials", "30", "--workers", "1", "--out", "own"]
    assert call(capsys, *BASE, *own)[0] == 0
    code, _, err = call(capsys, "run", "--resume", "own", "--storage", "sqlite:///study.db")
    assert code == 2
    assert "has its study in its folder" in err


def test_a_cluster_that_has_nothing_to_do_is_told(folder, capsys):
    code, _, err = call(
        capsys, *BASE, "--space", "small", "--engine", "ray", "--consider", "3000",
        "--trials", "60", "--workers", "1", "--out", "run",
    )  # fmt: skip
    assert code in (0, 3)
    assert "--engine ray: has nothing to do here" in err
