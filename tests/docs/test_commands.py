"""Each page is done as its reader would: files written, commands and Python run, in order.

Sizes that take minutes are exchanged for small ones; what cannot run here at all is in `NOT_RUN`.
"""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import effsearch
from effsearch.cli import main
from effsearch.export.check import randomise
from effsearch.training.checkpoint import save_network
from searchspace import Architecture, SearchSpace, build, zoo
from searchspace.space import space_names
from tests.docs.pages import PAGES, ROOT, arguments, snippets
from tests.fixtures.official import write_official
from tests.fixtures.tasks import write_masks
from tests.fixtures.training import write_tree

NOT_RUN = {
    r"\bzoo get ": "needs a network; tests/effsearch/training/test_official.py",
    r"\bprofile ": "measures for minutes; tests/effsearch/latency/profile",
    r"--refine ": "trains several networks on Ray; tests/effsearch/refine/test_command.py",
    r"--storage ": "needs a database server; tests/effsearch/search/shared",
    r"--ray-address ": "needs a cluster; tests/effsearch/search/test_ray_cluster.py",
    r"^torchrun ": "needs several GPUs; tests/effsearch/training/test_trainer.py",
    r"\bsupernet ": "trains a supernet; tests/effsearch/training/supernet",
    r"--runtime openvino": "needs the extra openvino; tests/effsearch/latency/timing",
    r"--format coreml": "needs the extra coreml; tests/effsearch/export",
}
PYTHON_NOT_RUN = {
    "torchvision": "no build for CPUs is at hand; tests/searchspace/test_features.py has its like",
    "mmdet": "likewise",
}
# A small input for a large one, by command: options that are set, whatever the page has.
SMALL = {
    "run": {"budget-ms": "5", "consider": "300", "trials": "30", "winners": "1", "workers": "1"},
    "kit": {"space": "tiny", "networks": "6"},
    "train": {"recipe": "evidence-cpu", "epochs": "1", "resolution": "64", "batch-size": "12"},
    "explain": {"space": "tiny"},
    "measure": {"seconds": "0.05"},
}
# Values that stand for the page's, so that they are of the small space and of a table that is here.
INSTEAD = {
    ("blocks", "shsa,mbconv"): "shsa,shvit_conv",
    ("resolution", "224"): "64",
    ("resolution", "512x1024"): "256x512",
    ("device", "mybox"): "epyc-zen5-1t",
    ("proxy", "zero-cost"): "macs",
}
PYTHON = {
    '("iphone12", 2.0': '("iphone12", 5.0, space="tiny", consider=300, trials=30, winners=1',
    'SearchSpace.load("small")': 'SearchSpace.load("tiny")',
    "n_trials=50": "n_trials=12",
}
FAST = (
    "README.md", "docs/add_a_runtime.md", "docs/extending.md", "docs/how_it_works/latency.md",
    "docs/how_it_works/score.md", "docs/how_it_works/space.md", "docs/reference/file_formats.md",
)  # fmt: skip


def typed(page):
    return any(s.commands() or (s.language == "python" and not s.title) for s in snippets(page))


MANUAL = [page for page in PAGES if not page.startswith("results/") and typed(page)]
COMMANDS = {page: [c for s in snippets(page) for c in s.commands()] for page in MANUAL}


def reason(command):
    return next((why for pattern, why in NOT_RUN.items() if re.search(pattern, command)), None)


def smaller(words):
    """Return a command's words with small sizes."""
    given = {}
    rest = []
    pending = list(words)
    while pending:
        word = pending.pop(0)
        if word.startswith("--"):
            name = word[2:]
            value = pending.pop(0) if pending and not pending[0].startswith("-") else None
            given[name] = INSTEAD.get((name, value), value)
        else:
            rest.append(word)
    given |= SMALL.get(words[0], {})
    if given.get("task") == "segmentation":
        if words[0] == "run":
            given |= {"budget-ms": "15", "blocks": "mbconv,lite_mla"}
        else:
            given["recipe"] = "segment-cpu"
    elif words[0] == "run" and given.get("space", "mobile") in space_names():
        given["space"] = "tiny"
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    return rest + [part for part in options if part is not None]


def fill_in(path: Path) -> None:
    """Write latencies into a kit's CSV, as if each network took a third longer than elsewhere.

    And the logs that the kit's scripts would keep of them.
    """
    sample = (ROOT / "tests/fixtures/benchmark_outputs/onnxruntime_perf_test.log").read_text()
    (path.parent / "logs").mkdir()
    lines = path.read_text().splitlines()
    head = [line for line in lines if line.startswith("#")]
    rows = list(csv.DictReader(lines[len(head) :]))
    for row in rows:
        name = path.parent / "architectures" / f"{Path(row['file']).stem}.yaml"
        network = Architecture.from_yaml(name)
        ms = 1.3 * effsearch.predict(network, "iphone13").mean_ms
        row["latency_ms"] = f"{ms:.4f}"
        log = sample.replace("P50 Latency: 0.00815086", f"P50 Latency: {ms / 1000:.7f}")
        (path.parent / "logs" / f"{name.stem}.log").write_text(log)
    with path.open("w", newline="") as file:
        file.writelines(f"{line}\n" for line in head)
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_rows(path: Path) -> None:
    rows = ["shvit_s1,1.3", "shvit_s2,1.6", "swiftformer_xs,1.2", "efficientvit_b0,1.5"]
    path.write_text("\n".join(["target,latency_ms", *rows, "efficientmod_xxs,1.9"]) + "\n")


def write_run(path: Path) -> None:
    effsearch.find("iphone12", 5.0, space="tiny", consider=300, trials=30, winners=1, out=path)


def write_network(path: Path) -> None:
    SearchSpace.load("tiny").sample(np.random.default_rng(0)).to_yaml(path)


# What the reader of a page has already, by its place.
def write_winner(path):
    path.parent.mkdir(parents=True)
    zoo.load("shvit_s1").to_yaml(path)


def write_trained(path):
    path.parent.mkdir()
    network = build(SearchSpace.load("tiny").sample(np.random.default_rng(0)), 3)
    randomise(network)
    save_network(network, path, True, {"labels": ["cat", "dog", "horse"]})


GIVEN = {
    "docs/detection.md": {
        "winners/1/architecture.yaml": write_winner,
        "shvit_s4.pth": lambda path: write_official(path, "shvit_s4"),
    },
    "docs/precision.md": {"images": write_tree},
    "docs/limits.md": {"mine.yaml": write_network},
    "docs/tutorials/deploy.md": {"run": write_run, "trained/model.pt": write_trained},
    "docs/tutorials/own_images.md": {
        "run": write_run,
        "images": write_tree,
        "../home/checkpoints/shvit_s1.pth": lambda path: write_official(path, "shvit_s1"),
    },
    "docs/tutorials/own_masks.md": {"images": write_tree, "masks": write_masks},
    "docs/tutorials/iphone.md": {"rows.csv": write_rows},
}


def write_files(page, folder):
    """Write what a page says to write, and install the package that it shows, if it does.

    Returns:
        Whether it shows one: flags of packages are known to a process from its start.
    """
    points = {}
    for snippet in snippets(page):
        if snippet.title:
            (folder / snippet.title).write_text(snippet.text)
        if snippet.language == "toml":
            points |= tomllib.loads(snippet.text)["project"]["entry-points"]
    if not points:
        return False
    info = folder / "page-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: page\nVersion: 1\n")
    lines = [f"[{group}]\n{name} = {at}" for group, p in points.items() for name, at in p.items()]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return True


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """A person in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)  # Python finds what is in the folder it was started in
    monkeypatch.setenv("EFFSEARCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EFFSEARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("effsearch.latency.calibrate.kit.find_spec", lambda name: None)
    return folder


def call(command, apart):
    words = smaller(arguments(command))
    if apart:
        path = os.pathsep.join([os.getcwd(), *filter(None, sys.path)])
        program = [sys.executable, "-m", "effsearch", *words]
        status = subprocess.run(program, env={**os.environ, "PYTHONPATH": path}).returncode
    else:
        with pytest.raises(SystemExit) as exit_:
            main(words)
        status = exit_.value.code
    assert status == 0, f"{command}\nas: effsearch {' '.join(words)}"
    if words[0] == "kit":
        fill_in(Path(words[words.index("--out") + 1]) / "measurements.csv")


def python(text, names):
    for large, small in PYTHON.items():
        text = text.replace(large, small)
    exec(compile(text, "page", "exec"), names)


@pytest.mark.parametrize(
    "page", [pytest.param(p, marks=() if p in FAST else pytest.mark.slow) for p in MANUAL]
)
def test_a_page_can_be_followed(page, reader):
    for name, write in GIVEN.get(page, {}).items():
        write(reader / name)
    apart = write_files(page, reader)
    names = {"__name__": "page"}
    for snippet in snippets(page):
        for command in snippet.commands():
            if reason(command) is None:
                call(command, apart)
        runs = not any(package in snippet.text for package in PYTHON_NOT_RUN)
        if snippet.language == "python" and not snippet.title and runs:
            python(snippet.text, names)


def test_what_is_not_run_is_there():
    everything = [command for commands in COMMANDS.values() for command in commands]
    for pattern in NOT_RUN:
        assert any(re.search(pattern, command) for command in everything), pattern
    told = "".join((ROOT / page).read_text() for page in MANUAL)
    for text in (*PYTHON, *PYTHON_NOT_RUN):
        assert text in told
    assert set(GIVEN) | set(FAST) <= set(MANUAL)
    run = [command for command in everything if reason(command) is None]
    assert len(run) > len(everything) / 2
