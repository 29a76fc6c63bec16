import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from effsearch.latency.calibrate import kit, kit_runner
from effsearch.latency.models import processor_features as processor
from effsearch.latency.models.price_prior import processor_prior
from searchspace import Architecture, SearchSpace, UserError, operators


def quiet(_message):
    pass


@pytest.fixture(scope="module")
def space():
    return SearchSpace.load("tiny")


@pytest.fixture(scope="module")
def written(space, tmp_path_factory):
    folder = tmp_path_factory.mktemp("kit") / "new"
    return kit.write_kit("my-phone", space, folder, size=6, pool=40, report=quiet)


def test_members_of_the_space_and_all_different(written, space):
    assert all(a in space for a in written.architectures)
    assert len({a.digest() for a in written.architectures}) == 6


def test_shorter_kit_is_the_beginning_of_a_longer_one(space, written):
    fewer = kit.choose(space, size=3, pool=40, report=quiet)
    assert fewer == written.architectures[:3]


def test_seed_changes_the_choice(space, written):
    other = kit.choose(space, size=6, pool=40, seed=1, report=quiet)
    assert other != written.architectures


def test_expensive_networks_are_left_out(space, written):
    price = processor_prior().price

    def cost(architecture):
        totals = processor.features(operators(architecture, "deploy"))
        return processor.of_network(totals[None])[0] @ price

    rng = np.random.default_rng(0)
    pool = [cost(space.sample(rng)) for _ in range(40)]
    assert max(map(cost, written.architectures)) <= np.quantile(pool, 0.95)


def test_greedy_choice_beats_a_random_one():
    rng = np.random.default_rng(0)
    features = rng.gamma(0.5, size=(80, len(processor.names())))
    chosen = kit.greedy(features, 8)

    def left(rows):
        prior = processor_prior()
        costs = processor.of_network(features) * prior.price
        costs[:, 0] = prior.price[0]
        shares = costs / costs.sum(axis=1)[:, None]
        precision = np.linalg.inv(prior.covariance) + shares[rows].T @ shares[rows] / 0.05**2
        return np.einsum("nj,jk,nk->n", shares, np.linalg.inv(precision), shares).mean()

    random = [left(rng.choice(80, 8, replace=False)) for _ in range(20)]
    assert len(set(chosen)) == 8
    assert left(chosen) < min(random)


def test_files_agree_with_one_another(written):
    lines = written.csv.read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert lines[0] == "# device: my-phone"
    assert [int(row["index"]) for row in rows] == list(range(6))
    for row, architecture in zip(rows, written.architectures, strict=True):
        assert row["digest"] == architecture.digest()
        assert row["latency_ms"] == row["runs"] == ""
        model = onnx.load(written.folder / row["file"])
        embedded = {p.key: p.value for p in model.metadata_props}["architecture"]
        path = written.folder / "architectures" / f"{int(row['index']):02d}.yaml"
        assert Architecture.from_yaml(path).digest() == architecture.digest()
        assert path.read_text().strip() in embedded or embedded.strip() in path.read_text()


def test_page_names_this_kit(written):
    page = (written.folder / "MEASURE.md").read_text()
    assert "--device my-phone" in page
    assert "{" not in page
    for runtime in ("Xcode", "onnxruntime_perf_test", "trtexec", "measure.py"):
        assert runtime in page
    for script in kit.SCRIPTS:
        assert f"sh {script} " in page
        assert (written.folder / script).read_text().startswith("#!/bin/sh\n")


def test_script_fills_in_the_file_where_it_is_empty(written, tmp_path):
    script = written.folder / "measure.py"
    command = [sys.executable, str(script), "--seconds", "0.01", "--first", "2"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    lines = written.csv.read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert lines[0] == "# device: my-phone"
    assert all(float(row["latency_ms"]) > 0 and int(row["runs"]) >= 15 for row in rows[:2])
    assert all(row["latency_ms"] == "" for row in rows[2:])
    kept = rows[0]["latency_ms"]
    assert kit_runner.main(["--csv", str(written.csv), "--seconds", "0.01", "--first", "3"]) == 0
    again = [line for line in written.csv.read_text().splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(again))
    assert rows[0]["latency_ms"] == kept
    assert rows[2]["latency_ms"]


def test_full_folder_is_refused(space, tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UserError, match="not empty"):
        kit.write_kit("a", space, tmp_path, size=5, pool=10, report=quiet)
    assert (tmp_path / "mine.txt").read_text() == "keep"
    with pytest.raises(UserError, match="no name of a new folder"):
        kit.write_kit("a", space, Path(), size=5, pool=10, report=quiet)


@pytest.mark.parametrize("name", ["", "My Phone", "a/b", "ä"])
def test_names_that_no_table_can_have(name):
    with pytest.raises(UserError, match="--device"):
        kit.check_name(name)
