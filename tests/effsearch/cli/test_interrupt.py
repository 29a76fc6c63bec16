"""Ctrl-C in a search whose score takes minutes and lets nobody else have a word."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from effsearch.search.study import StudyStore
from searchspace import SearchSpace
from tests.fixtures.outside_package import write_package

SCORE = """\
import itertools
from effsearch.accuracy.registry import Entry
from effsearch.accuracy.score import Score, ScoreSource

class Crawl(ScoreSource):
    name, kind, unit, card = "crawl", "estimated", "points", {{}}

    def __init__(self, options):
        self.calls = itertools.count()

    def score(self, architecture):
        if next(self.calls) >= 3:
            {crawl}
        return Score(float(architecture.depth), 0.0)

ENTRY = Entry("crawl", Crawl, slow={slow})
"""
# `sum` hears no signals and lets no other thread run; this one takes it an hour.
SPIN, SLEEP = "sum(range(10**11))", "[__import__('time').sleep(0.1) for _ in range(36000)]"


@pytest.fixture
def begin(tmp_path):
    """Begin a search, and wait until its first candidates are counted."""
    running = []

    def start(*options, crawl=SPIN, slow=True):
        score = SCORE.format(crawl=crawl, slow=slow)
        site = write_package(tmp_path / "site", "crawl", score, "effsearch.scores")
        path = os.pathsep.join([str(site), *filter(None, sys.path)])
        log = tmp_path / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [
                    sys.executable, "-m", "effsearch", "run", "--budget-ms", "2", "--device",
                    "iphone12", "--space", "tiny", "--trials", "40", "--proxy", "crawl",
                    "--out", str(tmp_path / "run"), *options,
                ],
                stdout=stream, stderr=stream, start_new_session=True,
                env={**os.environ, "PYTHONPATH": path, "EFFSEARCH_PROGRESS_SECONDS": "0"},
            )  # fmt: skip
        running.append(process)
        while not re.search(r"^[1-9]\d*/40", log.read_text(), re.MULTILINE):
            assert process.poll() is None, log.read_text()
            time.sleep(0.05)
        return process, log

    yield start
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


RAY = ("--workers", "2", "--engine", "ray")
CASES = [
    (("--workers", "1"), {}),
    (("--workers", "2"), {}),
    # One that hears signals, and did not say that it is slow: it runs in the command's process.
    (("--workers", "1"), {"crawl": SLEEP, "slow": False}),
    pytest.param(RAY, {}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("options", "score"), CASES)
def test_the_first_one_keeps_what_is_done_and_waits_for_no_score(begin, tmp_path, options, score):
    process, log = begin(*options, **score)
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    code = process.wait(timeout=300)  # the score takes longer
    print(f"{options} {score}: ended {time.monotonic() - asked:.2f} s after Ctrl-C")
    said = log.read_text()
    assert code == 130, said
    assert f"stopped; continue with: effsearch run --resume {tmp_path / 'run'}" in said
    assert "Traceback" not in said
    store = StudyStore(tmp_path / "run", SearchSpace.load("tiny"))
    kept = store.records()
    store.close()
    counted = [int(n) for n in re.findall(r"^(\d+)/40", said, re.MULTILINE)]
    assert len(kept) >= counted[-1] > 0
    assert not any(record.failed for record in kept)


def test_the_second_one_ends_at_once_and_leaves_no_process(begin, tmp_path):
    process, log = begin("--workers", "2")
    asked = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    while "stopping" not in log.read_text():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    code = process.wait(timeout=300)
    print(f"ended {time.monotonic() - asked:.2f} s after the first Ctrl-C")
    assert code == 130, log.read_text()
    assert "Traceback" not in log.read_text()
    deadline = time.monotonic() + 300  # a score takes longer
    while _runs(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not _runs(process.pid)


def _runs(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
