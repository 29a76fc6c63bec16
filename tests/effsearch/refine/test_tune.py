"""Trainings on a real local Ray whose processes die."""

from __future__ import annotations

import dataclasses
import os
import signal
from pathlib import Path

import pytest

from effsearch.refine.ranking import FAILED
from effsearch.refine.refinement import refine

pytestmark = pytest.mark.slow


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def trainings():
    """Return the processes of this process's Ray that train."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            name = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if name.startswith(b"ray::ImplicitFunc") and parent(parent(entry.name)) == os.getpid():
            found.append(int(entry.name))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
def test_a_training_whose_process_dies_is_one_line(wanted, networks, tmp_path):
    said = []

    def say(line):
        said.append(line)
        # The first training's first epoch is in: it dies in its second.
        if "epoch 1/9" in line and networks[0].candidate.digest in line:
            for pid in trainings():
                os.kill(pid, signal.SIGKILL)

    long = dataclasses.replace(wanted, recipe=wanted.recipe.replace(epochs=9))
    os.environ["EFFSEARCH_PROGRESS_SECONDS"] = "0.000001"
    try:
        found = refine(long, 0, tmp_path, networks[:2], None, 1, say=say)
    finally:
        del os.environ["EFFSEARCH_PROGRESS_SECONDS"]
    first, second = found.entrants
    assert first.training.state == FAILED
    assert second.training.state != FAILED
    lines = [line for line in said if "failed" in line]
    assert lines == [f"{first.digest} failed: its process died (out of memory?); the others go on"]
    again = refine(long, 0, tmp_path, networks[:2], None, 1)
    assert again.entrants[0].training.state != FAILED
    assert again.entrants[0].training.curve[0] == first.training.curve[0]
