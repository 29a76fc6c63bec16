"""Ctrl-C in trainings: what is kept, and how they go on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from effsearch.training import checkpoint as checkpoints
from effsearch.training.recipe import Recipe
from effsearch.training.supernet import state as states
from tests.fixtures.training import TINY, write_tree


@pytest.fixture
def begin(tmp_path):
    """Run a command until it has said something, then send Ctrl-C and return what it said."""
    write_tree(tmp_path / "images")
    (tmp_path / "tiny.yaml").write_text(TINY.format(width=16))
    recipe = Recipe(
        epochs=400, batch_size=12, image_side=64, source_side=16, warmup_epochs=1, early_side=0
    )
    recipe.to_yaml(tmp_path / "long.yaml")
    environment = {
        **os.environ,
        "EFFSEARCH_CACHE": str(tmp_path / "cache"),
        "EFFSEARCH_PROGRESS_SECONDS": "0.000001",
    }

    def run(*arguments, until):
        log = tmp_path / "log"
        command = [sys.executable, "-m", "effsearch", *arguments, "--data", "images"]
        with log.open("wb") as stream:
            process = subprocess.Popen(
                [*command, "--out", "out", "--recipe", "long.yaml", "--device", "cpu"],
                stdout=stream, stderr=stream, cwd=tmp_path, start_new_session=True,
                env={**environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )  # fmt: skip
        try:
            deadline = time.monotonic() + 300
            while until not in log.read_text():
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGINT)
            code = process.wait(timeout=300)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        return code, log.read_text()

    return run


def test_a_training_says_how_it_goes_on(begin, tmp_path):
    code, said = begin("train", "tiny.yaml", until="epoch 3/400:")
    assert code == 130, said
    assert "stopping; whole epochs are kept (Ctrl-C again ends at once)" in said
    assert said.endswith(
        "stopped; the same command with --resume goes on after the last whole epoch\n"
    )
    assert "epoch 2/400, step 3/4, about" in said
    assert "Traceback" not in said
    assert checkpoints.load(tmp_path / "out" / "last.pt").epoch >= 3


def test_a_supernet_is_saved_before_its_first_checkpoint_was_due(begin, tmp_path):
    code, said = begin("supernet", "train", "--space", "tiny", until="shared parameters")
    assert code == 130, said
    assert "stopping; the step under way is finished and saved" in said
    assert said.endswith("stopped; the same command with --resume continues out/supernet.pt\n")
    assert 0 < states.load(tmp_path / "out" / "supernet.pt").step < 200
