from __future__ import annotations

import math

import pytest

from effsearch.search import progress
from effsearch.search.progress import Lines


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    monkeypatch.setenv("EFFSEARCH_PROGRESS_SECONDS", "0.000001")
    return now


def test_lines_say_how_long_the_rest_takes(clock, capsys):
    lines = Lines()
    lines.start(100, 1000, [])
    for seconds, done in ((30.0, 400), (40.0, 500), (90.0, 1000)):
        clock[0] = seconds
        lines.advance(done, [])
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "resuming after 100 candidates",
        "400/1000 candidates  10/s  none within the budget yet",
        "500/1000 candidates  10/s  none within the budget yet, about 50 s left",
        "1000/1000 candidates  10/s  none within the budget yet",
    ]


def test_networks_that_are_considered_too(clock, capsys):
    lines = Lines()
    lines.start(0, 1000, [])
    # Making ready took 8 s, which are no part of the speed from now on.
    for seconds, done, best in ((10.0, 100, -math.inf), (12.0, 300, -math.inf), (16.0, 700, 71.5)):
        clock[0] = seconds
        lines.consider(done, best)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "100/1000 networks  10/s  none within the budget yet",
        "300/1000 networks  25/s  none within the budget yet, about 7 s left",
        "700/1000 networks  44/s  best lower bound 71.50, about 3 s left",
    ]
