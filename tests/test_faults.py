"""What each writer promises when the machine fails it; the table is in docs/robustness.md."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fixtures.good_files import inside

TRAIN = "train net.yaml --data images.zip --out o --recipe recipe.yaml --device cpu --workers 0"
RUN = "run --budget-ms 5 --device iphone12 --space tiny --trials 24 --workers 1 --winners 1"
# Each writer, and bytes of a file at which the disk is full: before, within, and late.
WRITERS = {
    "sample": ("sample --space tiny --out o", [0, 100]),
    "export onnx": ("export net.yaml --out o.onnx --force", [0, 20_000]),
    "export torch": ("export net.yaml --format torch --out o.pt --force", [0, 20_000]),
    "calibrate": ("calibrate rows.csv --device new", [0, 500]),
    "kit": ("kit --device new --space tiny --networks 5 --out o", [0, 3000, 100_000]),
    "run": (f"{RUN} --out o", [0, 600, 3000, 20_000, 100_000]),
    "report": ("report run", [0, 50_000, 1_000_000]),
    "resume": ("run --resume run --trials 26 --workers 1", [0, 600, 20_000]),
    "train": (TRAIN, [0, 5000]),
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
    if name != "train":  # what it can't write when there is room again, it writes
        with inside(work) as run:
            again = WRITERS[name][0]
            if name == "run" and (work / "o" / "request.json").exists():
                again = "run --resume o --workers 1"
            elif name in ("run", "kit"):
                shutil.rmtree(work / "o", ignore_errors=True)
            assert run(again) == 0


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
    "command", ["sample --space tiny --out OUT", "export net.yaml --out OUT/x"]
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


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.5, 2, 4, 8])
@pytest.mark.parametrize(
    "command", [f"{RUN} --out o", TRAIN, "report run", "export net.yaml --out x.onnx"]
)
def test_a_kill_leaves_what_can_be_gone_on_with(command, delay, work, tmp_path):
    kept = contents(work)
    environment = {
        **os.environ,
        "EFFSEARCH_HOME": str(work / "home"),
        "EFFSEARCH_CACHE": str(tmp_path / "cache"),
    }

    def start(line):
        return subprocess.Popen(
            [sys.executable, "-m", "effsearch", *line.split(" ")],
            cwd=work,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    process = start(command)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for path, content in kept.items():
        if not path.startswith("run/"):
            assert (work / path).read_bytes() == content
    again = command
    if (work / "o" / "request.json").exists():
        again = "run --resume o --workers 1"
    elif (work / "o" / "last.pt").exists():
        again = f"{command} --resume"
    elif command.startswith("run"):
        shutil.rmtree(work / "o", ignore_errors=True)
    elif Path(work / "x.onnx").exists():
        again = f"{command} --force"
    process = start(again)
    _, err = process.communicate()
    assert process.returncode == 0, err
