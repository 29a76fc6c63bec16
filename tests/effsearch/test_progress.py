from __future__ import annotations

import sys

import pytest

from effsearch import progress
from effsearch.progress import Meter, duration
from searchspace.errors import UserError


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    monkeypatch.delenv("EFFSEARCH_PROGRESS_SECONDS", raising=False)
    return now


@pytest.fixture
def lines(monkeypatch):
    said = []
    monkeypatch.setattr(progress, "say", said.append)
    return said


@pytest.mark.parametrize(
    ("seconds", "text"), [(40, "40 s"), (720, "12 min"), (12600, "3.5 h"), (0.2, "0 s")]
)
def test_times_as_people_say_them(seconds, text):
    assert duration(seconds) == text


def test_lines_say_what_is_left_and_do_not_fill_a_log(clock, lines):
    meter = Meter()
    meter.start(100_000, 40_000)
    assert meter.left(40_000) == ""
    for step in range(60_000):
        clock[0] += 1.0
        meter.update(40_001 + step, f"step {step + 1}")
    assert lines[0] == "step 600, about 16.5 h left"
    assert 80 <= len(lines) <= 110
    assert meter.left(100_000) == ""


def test_short_work_says_a_line_every_ten_seconds(clock, lines):
    meter = Meter()
    meter.start(60)
    for step in range(60):
        clock[0] += 1.0
        meter.update(step + 1, f"step {step + 1}")
    assert lines == [
        f"step {at}, about {60 - at} s left" if at < 60 else "step 60" for at in range(10, 61, 10)
    ]


def test_one_that_is_not_shown_knows_the_time_left(clock, lines):
    meter = Meter(shown=False)
    meter.start(4)
    clock[0] = 100.0
    meter.update(1, "one")
    assert meter.left(1) == "about 5 min left"
    assert lines == []


def test_seconds_that_are_no_number_are_refused(monkeypatch):
    monkeypatch.setenv("EFFSEARCH_PROGRESS_SECONDS", "often")
    with pytest.raises(UserError, match="_SECONDS is 'often'; it must be a number of seconds"):
        progress.least_pause(2.0)


def test_a_terminal_gets_a_bar_that_goes_when_it_is_done(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with Meter() as meter:
        meter.start(4)
        meter.update(2, "epoch 1/2, step 2/2")
        meter._bar.refresh()
    assert "epoch 1/2, step 2/2" in capsys.readouterr().err
    assert meter._bar is None
