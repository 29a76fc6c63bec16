"""What each writer promises when the machine fails it; the table is in docs/robustness.md."""

from __future__ import annotations

import os
import re
import resource
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest
import torch

from effsearch.training.checkpoint import save_tensors
from tests.fixtures.good_files import inside

TRAIN = "train net.yaml --data images.zip --out o --recipe recipe.yaml --device cpu --workers 0"
SUPERNET = (
    "supernet train --space tiny --data images.zip --out o --device cpu --workers 0 "
    "--recipe recipe.yaml --save-steps 1"
)
RUN = "run --budget-ms 5 --device iphone12 --space tiny --trials 24 --workers 1 --winners 1"
# Each writer, and bytes of a file at which the disk is full: before, within, and late.
WRITERS = {
    "sample": ("sample --space tiny --out o", [0, 100]),
    "export onnx": ("export net.yaml --out o.onnx --force", [0, 20_000]),
    "export torch": ("export net.yaml --format torch --out o.pt --force", [0, 20_000]),
    "calibrate": ("calibrate rows.csv --device new", [0, 500]),
    "kit": ("kit --device new --space tiny --networks 5 --out o", [0, 3000, 100_000]),
    "run": (f"{RUN} --out o", [0, 600, 3000, 20_000, 100_000]),
    "report": ("report run", [0, 50_000, 120_000]),
    "resume": ("run --resume run --trials 26 --workers 1", [0, 600, 20_000]),
    "train": (TRAIN, [0, 5000]),
    "supernet": (SUPERNET, [0, 5000]),
}
CASES = [(name, size) for name, (_, sizes) in WRITERS.items() for size in sizes]


@contextmanager
def full_beyond(size):
    """Refuse files beyond a size, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def contents(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != "run.lock"
    }


@pytest.fixture
def work(good, tmp_path):
    folder = tmp_path / "work"
    shutil.copytree(good, folder)
    for name in ("o.onnx", "o.pt"):
        (folder / name).write_text("earlier")
    return folder


@pytest.mark.parametrize(("name", "size"), CASES)
def test_a_full_disk_is_one_line_and_what_was_there_stays(name, size, work, capsys, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_CACHE", str(work / "cache"))
    before = contents(work)
    capsys.readouterr()
    with inside(work) as run, full_beyond(size):
        status = run(WRITERS[name][0])
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("effsearch: error")]
    assert status in (1, 2), err
    assert len(lines) == 1
    assert "Traceback" not in err
    assert "unforeseen" not in err
    after = contents(work)
    damaged = [path for path in before if after.get(path) != before[path]]
    # A study grows by whole lines; the rest is replaced whole or not at all.
    assert [path for path in damaged if path not in GROWS] == []
    for path in damaged:
        assert after[path].startswith(before[path]) or path in REPLACED
    assert [path for path in after if path.endswith(".tmp")] == []
    with inside(work) as run:  # what it can't write, it writes when there is room again
        again = WRITERS[name][0]
        if name == "run" and (work / "o" / "request.json").exists():
            again = "run --resume o --workers 1"
        elif name in ("run", "kit"):
            shutil.rmtree(work / "o", ignore_errors=True)
        assert run(again) == 0


def test_a_full_disk_is_told_as_one_where_a_checkpoint_meets_it(tmp_path):
    """Trainings of `--refine` say why they failed in the error's own words."""
    with full_beyond(5000), pytest.raises(OSError, match="too large"):
        save_tensors({"weights": torch.zeros(10_000)}, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


# Files that a run may have written before the disk was full.
GROWS = {
    "run/study.log", "run/request.json", "run/trials.csv", "run/front.csv", "run/summary.json",
    "run/winners/1/card.json", "run/winners/1/model.onnx", "run/winners/1/architecture.yaml",
    "run/pareto.png", "run/report.html",
}  # fmt: skip
REPLACED = GROWS - {"run/study.log"}


@pytest.mark.parametrize("out", ["net.yaml/o", "net.yaml"])
@pytest.mark.parametrize(
    "command",
    [
        "sample --space tiny --out OUT",
        "export net.yaml --out OUT",
        f"{RUN} --out OUT",
        "kit --device new --space tiny --networks 5 --out OUT",
        TRAIN.replace("--out o", "--out OUT"),
        "predict net.yaml --device iphone12 --plot OUT/x.png",
        "supernet train --space tiny --data images.zip --out OUT --device cpu --workers 0",
    ],
)
def test_out_of_the_wrong_kind_is_a_wrong_request(
    command, out, work, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("EFFSEARCH_CACHE", str(tmp_path / "cache"))
    before = contents(work)
    capsys.readouterr()
    with inside(work) as run:
        status = run(command.replace("OUT", out))
    err = capsys.readouterr().err
    assert status == 2, err
    assert len([line for line in err.splitlines() if line.startswith("effsearch: error")]) == 1
    assert "net.yaml" in err
    assert contents(work) == before


@pytest.mark.parametrize(
    "command",
    [
        "sample --space tiny --out OUT",
        "export net.yaml --out OUT/x",
        SUPERNET.replace("--out o", "--out OUT/x"),
    ],
)
def test_a_folder_that_cannot_be_written_is_a_wrong_request(command, work, tmp_path):
    place = tmp_path / "locked"
    place.mkdir(mode=0o555)
    # Root may write anywhere, unless it goes without that capability.
    humbly = ["setpriv", "--bounding-set", "-dac_override"] if os.geteuid() == 0 else []
    if humbly and shutil.which("setpriv") is None:
        pytest.skip("as root, this needs setpriv")
    found = subprocess.run(
        [
            *humbly,
            sys.executable,
            "-m",
            "effsearch",
            *command.replace("OUT", str(place)).split(" "),
        ],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 2, found.stderr
    assert "Permission denied" in found.stderr
    assert "Traceback" not in found.stderr
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("seconds", [1.0, 4.0])
def test_a_clock_that_goes_back_changes_nothing(seconds, work, monkeypatch, capsys):
    real = time.time
    begin = real()
    monkeypatch.setattr(time, "time", lambda: 2 * begin - real() - 3600 * seconds)
    with inside(work) as run:
        assert run("run --resume run --trials 26 --workers 1") == 0


# Each writer: its command, what goes on after a kill, by the file that must be there for that, and
# what is in the end as if nothing had happened.
LONGER = [f"{command} --epochs 3" for command in (TRAIN, SUPERNET)]
KILLED = {
    "run": (f"{RUN} --out o", {"o/request.json": "run --resume o --workers 1"}, "o/trials.csv"),
    "train": (LONGER[0], {"o/last.pt": f"{LONGER[0]} --resume"}, "o/model.pt"),
    "supernet": (LONGER[1], {"o/supernet.pt": f"{LONGER[1]} --resume"}, "o/supernet.pt"),
    "calibrate": ("calibrate rows.csv --device new", {}, "home/devices/new.json"),
    "export": ("export net.yaml --out o.onnx --force", {}, "o.onnx"),
    "report": ("report run", {}, "run/report.html"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", KILLED)
def test_a_kill_at_any_write_changes_nothing_in_the_end(name, good, tmp_path, command_in):
    command, resumed, result = KILLED[name]
    whole = tmp_path / "whole"
    shutil.copytree(good, whole)
    status, writes = command_in(whole, command)
    assert status == 0, (tmp_path / "said").read_text()
    assert writes > 1
    for at in (writes // 2, writes):
        folder = tmp_path / f"at {at}"
        shutil.copytree(good, folder)
        before = contents(folder)
        assert command_in(folder, command, at) == (-9, at)
        after = contents(folder)
        damaged = {path for path in before if after.get(path) != before[path]}
        assert damaged <= REPLACED | {"o.onnx"}
        again = [line for file, line in resumed.items() if (folder / file).exists()]
        if not again:
            shutil.rmtree(folder / "o", ignore_errors=True)
        status, _ = command_in(folder, *again or [command])
        assert status == 0, (tmp_path / "said").read_text()
        assert content(folder / result) == content(whole / result), at


def content(path):
    """What a file says, without when it was written."""
    if path.suffix != ".pt":
        return re.sub(rb"\d\d\d\d-\d\d-\d\d", b"", path.read_bytes())
    held = torch.load(path, weights_only=True)
    weights = held["weights"] if "weights" in held else held["state_dict"]
    return {name: tensor.tolist() for name, tensor in weights.items()}
