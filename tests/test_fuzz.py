"""What the command promises of any input, held on many bad ones.

Good files are spoiled by seeded mutations and given to the commands that read them: the exit status
is one that is promised, the message fits a screen and is no traceback, nothing is written outside
of the working folder, and neither time nor memory runs away. `EFFSEARCH_FUZZ_INPUTS` sets how many
inputs there are in all; a failure leaves its input in a folder that its message names.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
import torch

from effsearch.onnx_io.limits import memory_limit
from searchspace import Architecture
from tests.fixtures import mutations
from tests.fixtures.good_files import inside

INPUTS = int(os.environ.get("EFFSEARCH_FUZZ_INPUTS", "500"))
CPU_SECONDS = 10
BYTES = 2 << 30
LINES, CHARACTERS = 24, 4000


@dataclass(frozen=True)
class Kind:
    """One kind of file, and how it reaches the program.

    Attributes:
        file: the good file's name in the folder of good ones.
        mutations: what spoils it.
        commands: argument lists; F is the file, which is in the working folder.
        share: of all inputs, in percent.
    """

    file: str
    mutations: tuple[mutations.Mutation, ...]
    commands: tuple[str, ...]
    share: float


TRAIN = "train net.yaml --data images.zip --out o --recipe recipe.yaml --device cpu --workers 0"
KINDS = {
    "architecture": Kind(
        "net.yaml",
        mutations.YAML,
        (
            "describe F",
            "predict F --device iphone12",
            "predict F --device measured.json --json",
            "score F",
            "score F --proxy params",
        ),
        20,
    ),
    "space": Kind("space.yaml", mutations.YAML, ("sample --space F -n 1 --out o",), 12),
    "recipe": Kind(
        "recipe.yaml", mutations.YAML, ("train net.yaml --data none --out o --recipe F",), 12
    ),
    "table": Kind("table.json", mutations.JSON, ("predict net.yaml --device F",), 10),
    "calibrated": Kind("calibrated.json", mutations.JSON, ("predict net.yaml --device F",), 5),
    "installed": Kind("table.json", mutations.JSON, ("devices",), 3),
    "entries": Kind(
        "measured.csv", mutations.TEXT, ("predict net.yaml --device measured.json",), 3
    ),
    "measured": Kind("measured.json", mutations.JSON, ("predict net.yaml --device F",), 3),
    "measurements": Kind("rows.csv", mutations.TEXT, ("calibrate F --device new",), 8),
    "onnx": Kind(
        "net.onnx", mutations.BINARY, ("describe F", "predict F --device iphone12", "score F"), 12
    ),
    "measure": Kind("net.onnx", mutations.BINARY, ("measure F --seconds 0.001",), 2),
    "checkpoint": Kind("model.pt", mutations.BINARY, ("export F --format torch --out x.pt",), 3),
    "weights": Kind("model.pt", mutations.BINARY, ("export net.yaml --weights F --out x.onnx",), 1),
    "start": Kind("model.pt", mutations.BINARY, (f"{TRAIN} --init F",), 1),
    "images": Kind(
        "images.zip",
        mutations.BINARY,
        (TRAIN.replace("images.zip", "F"),),
        1.5,
    ),
    "summary": Kind("run/summary.json", mutations.JSON, ("report run",), 1.5),
    "card": Kind("run/winners/1/card.json", mutations.JSON, ("report run",), 1),
    "trials": Kind("run/trials.csv", mutations.TEXT, ("report run",), 1),
    "front": Kind("run/front.csv", mutations.TEXT, ("report run",), 0.5),
    "request": Kind("run/request.json", mutations.JSON, ("run --resume run --workers 1",), 1),
    "study": Kind("run/study.log", mutations.TEXT, ("run --resume run --workers 1",), 1),
}
ODD = [
    "", "-1", "0", "1", "2", "1e400", "nan", "inf", "-inf", "9" * 400, str(2**64), str(2**63), "x",
    "../../X", "\x1b[31m", "\u4e2d", "x" * 5000, "a,b", "0.5", "1e-300", "1.5", ".", "/", "None",
]  # fmt: skip
OPTIONS = (
    "run --budget-ms ? --device iphone12 --space nosuch",
    "run --budget-ms 1 --device ?",
    "run --budget-ms 1 --device iphone12 --space ?",
    "run --budget-ms 1 --device iphone12 --space nosuch --trials ?",
    "run --budget-ms 1 --device iphone12 --space nosuch --seed ?",
    "run --budget-ms 1 --device iphone12 --space nosuch --confidence ?",
    "run --budget-ms 1 --device iphone12 --space nosuch --winners ?",
    "run --budget-ms 1 --device iphone12 --space nosuch --workers ?",
    "run --budget-ms 1 --device iphone12 --space nosuch --max-params ?",
    "run --budget-ms 1 --device iphone12 --space nosuch --engine ?",
    "run --budget-ms 1 --device iphone12 --proxy ? --space nosuch",
    "run --resume ?",
    "predict ? --device iphone12",
    "predict net.yaml --device ?",
    "predict net.yaml --device iphone12 --budget-ms ?",
    "predict net.yaml --device iphone12 --plot ?",
    "describe ?",
    "score net.yaml --proxy ?",
    "sample --out ? -n 1",
    "sample --space tiny --out o --seed ?",
    "sample --space ? --out o",
    "export net.yaml --out ?",
    "export net.yaml --seed ? --out x.onnx",
    "export net.yaml --format ?",
    "export ?",
    "measure net.yaml --threads ? --seconds 0.001",
    "measure net.yaml --seconds ? --threads 99",
    "profile --device ? --minutes 0",
    "profile --device new --minutes 0 --seed ?",
    "kit --device ? --networks 1",
    "kit --device new --networks 1 --seed ?",
    "calibrate rows.csv --device ?",
    "calibrate rows.csv --device new --base ?",
    "calibrate ?",
    "report ?",
    "train net.yaml --data none --out o --resolution ?",
    "train net.yaml --data none --out o --epochs ?",
    "train net.yaml --data none --out o --batch-size ?",
    "train net.yaml --data none --out o --learning-rate ?",
    "train net.yaml --data none --out o --seed ?",
    f"{TRAIN} --init ?",
    f"{TRAIN} --init model.pt --freeze-stages ?",
    f"{TRAIN} --init model.pt --layer-decay ?",
    "train net.yaml --data ? --out o",
    "train ? --data none --out o",
    "supernet train --data none --out o --space ?",
    "supernet train --data none --out o --space tiny --seed ?",
    "zoo get ?",
    "zoo --task ?",
    "supernet evaluate net.yaml --checkpoint ? --data none",
)


WRITES = re.compile(r"--(out|plot) \?")


@contextmanager
def limits():
    """Stop what takes too much of the CPU, and refuse memory beyond the limit."""

    def stop(*_):
        raise TimeoutError(f"more than {CPU_SECONDS} s of CPU")

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        with memory_limit(BYTES):
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def complaints(folder, arguments, capsys, monkeypatch):
    """Run a command on what is in `folder/work`; return what it broke of its promises."""
    outside = _listing(folder)
    (folder / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder / "temporary"))
    capsys.readouterr()
    with inside(folder / "work") as run, limits():
        status = run(arguments)
    out, err = capsys.readouterr()
    logs = [path.read_text(errors="replace") for path in (folder / "temporary").glob("*.log")]
    shutil.rmtree(folder / "temporary")
    found = []
    if status not in (0, 1, 2, 3):
        found.append(f"status {status}")
    if logs or "out of memory" in err:
        found.append(f"unforeseen:\n{' '.join(logs)[-1500:]}")
    if "Traceback" in out + err:
        found.append("traceback")
    if status and not err.strip():
        found.append("no message")
    if status and (len(err.splitlines()) > LINES or len(err) > CHARACTERS):
        found.append(f"message of {len(err.splitlines())} lines, {len(err)} characters")
    if not all(c.isprintable() or c in "\n\r" for c in err + out):
        found.append("unprintable")
    if _listing(folder) != outside:
        found.append(f"written outside: {sorted(_listing(folder) ^ outside)}")
    return [f"{text}\n{err[:600]}" for text in found]


def _listing(folder):
    """What is in and above a folder, but for the working folder."""
    inner = {p for p in folder.rglob("*") if folder / "work" not in (p, *p.parents)}
    return inner | set(folder.parent.iterdir())


def fresh(good, folder, words):
    """Make a working folder with those good files that a command names."""
    work = folder / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    for path in good.iterdir():
        if path.is_dir() and path.name in words:
            shutil.copytree(path, work / path.name)
        elif path.is_file() and (path.name in words or path.stem == "measured"):
            shutil.copy(path, work)
    return work


@pytest.mark.parametrize("name", KINDS)
def test_spoiled_files(name, good, tmp_path, capsys, monkeypatch):
    kind = KINDS[name]
    (tmp_path / "here").mkdir()
    failures = []
    content = (good / kind.file).read_bytes()
    for number in range(max(1, round(INPUTS * kind.share / 100))):
        rng = random.Random(f"{name} {number}")
        command = rng.choice(kind.commands).replace("F", kind.file)
        work = fresh(good, tmp_path / "here", command.split(" "))
        spoiled = rng.choice(kind.mutations)(content, rng)
        (work / kind.file).write_bytes(spoiled)
        if name == "installed":
            (work / "home" / "devices").mkdir(parents=True)
            (work / kind.file).rename(work / "home" / "devices" / kind.file)
        broken = complaints(tmp_path / "here", command, capsys, monkeypatch)
        if broken:
            kept = tmp_path / f"{name}-{number}"
            kept.write_bytes(spoiled)
            failures.append(f"{command} with {kept}: {'; '.join(broken)}")
    assert not failures, "\n\n".join(failures[:10])


def test_odd_options(good, tmp_path, capsys, monkeypatch):
    (tmp_path / "here").mkdir()
    rng = random.Random("options")
    cases = [(line, odd) for line in OPTIONS for odd in ODD]
    # Where a person says to write, is written.
    cases = [c for c in cases if not (c[1] in ("../../X", "/") and WRITES.search(c[0]))]
    failures = []
    for line, odd in rng.sample(cases, min(len(cases), max(1, INPUTS // 8))):
        fresh(good, tmp_path / "here", line.split(" "))
        arguments = [odd if part == "?" else part for part in line.split(" ")]
        broken = complaints(tmp_path / "here", arguments, capsys, monkeypatch)
        if broken:
            failures.append(f"{line} with {odd[:50]!r}: {'; '.join(broken)}")
    assert not failures, "\n\n".join(failures[:10])


def test_good_files_are_good(good, tmp_path, capsys, monkeypatch):
    """The control: what is not spoiled is taken."""
    (tmp_path / "here").mkdir()
    for name, kind in KINDS.items():
        if name == "recipe":
            continue  # its command has no images, so that it trains nothing
        for command in (line.replace("F", kind.file) for line in kind.commands):
            with inside(fresh(good, tmp_path / "here", command.split(" "))) as run:
                assert run(command) == 0, command
    assert isinstance(Architecture.from_yaml(good / "net.yaml"), Architecture)
    assert torch.load(good / "model.pt", weights_only=True)
