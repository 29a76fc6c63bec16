"""The host benchmark: unseen networks, kept timings, errors with and without the drift."""

import json
from dataclasses import replace

import numpy as np
import pytest

from effsearch.latency import DeviceTable
from effsearch.latency.machine_speed import MachineSpeed
from results.latency import benchmark_host
from results.latency.benchmark_host import benchmark, main, page, unseen
from results.latency.benchmark_timings import Timed, Timings
from searchspace import UserError, zoo

TABLE = "epyc-zen5-1t"


@pytest.fixture(scope="module")
def table():
    return DeviceTable.load(TABLE)


class Machine:
    """Takes what the table says times a factor, at the given speed."""

    def __init__(self, table, factor, speed):
        self.table, self.factor, self.speed = table, factor, speed

    def __call__(self, networks, threads, work, runtime):
        features = np.stack([self.table.features(a) for a in networks])
        slower = self.table.model.slower(features, self.speed)
        return [
            Timed(
                self.table.predict(a).mean_ms * float(s) * self.factor, 0.01, 30, False, self.speed
            )
            for a, s in zip(networks, slower, strict=True)
        ]


def test_unseen_networks_are_not_the_profiles(table):
    drawn = unseen(table, 12, seed=3)
    digests = {a.digest() for a in drawn}
    assert len(digests) == 12
    assert not digests & set(table.meta["profile"]["ran"])
    assert digests == {a.digest() for a in unseen(table, 12, seed=3)}
    assert digests != {a.digest() for a in unseen(table, 12, seed=4)}
    with pytest.raises(UserError, match="effsearch profile"):
        unseen(DeviceTable.load("iphone12"), 1, seed=0)


def test_the_machines_speed_is_told_from_the_tables_error(table, monkeypatch):
    usual = table.model.speed
    slow = MachineSpeed(usual.reference_ms * 1.2, usual.product_ms * 1.2)
    monkeypatch.setattr(benchmark_host, "measure_all", Machine(table, 1.02, slow))
    summary, rows = benchmark(table, 6, seed=5)
    assert len(rows) == 6 + len(zoo.names())
    for which in ("sampled", "published"):
        errors = summary[which]
        assert errors["median"] == pytest.approx(1 - 1 / (1.2 * 1.02), abs=1e-3)
        assert errors["at_the_tables_speed"]["median"] == pytest.approx(1 - 1 / 1.02, abs=1e-3)
        assert errors["slower_than_the_table"] == pytest.approx(0.2, abs=1e-3)
    assert not summary["met"]["median"]
    assert all(summary["met_at_the_tables_speed"].values())
    text = page(summary | {"command": "x"})
    assert "20.0% slower" in text
    assert "as measured: median missed" in text


def test_timings_are_kept_and_read_again(tmp_path):
    path = tmp_path / "work" / "timings.jsonl"
    one = Timed(2.5, 0.02, 30, True, MachineSpeed(2.8, 0.5))
    better = Timed(2.4, 0.01, 30, False, MachineSpeed(2.8, 0.5))
    way = {"threads": 1, "precision": "float32"}
    timings = Timings(path, way)
    timings.add("a", one)
    timings.add("a", better)
    assert Timings(path, way).found == {"a": better}
    assert Timings(path, {**way, "threads": 2}).found == {}
    assert Timings(path, {**way, "precision": "int8"}).found == {}


def test_what_was_measured_while_the_machine_was_slow_is_measured_again():
    timings = Timings(None, {"threads": 1})
    calm = Timed(2.5, 0.02, 30, False, MachineSpeed(2.0, 0.5))
    noisy = replace(calm, noisy=True)
    slow = replace(calm, median_ms=3.5, spread=0.001, speed=MachineSpeed(2.8, 0.5))
    for name, timed in zip("abcd", (calm, noisy, slow, calm), strict=True):
        timings.add(name, timed)
    assert timings.open("abcde", again=False) == ["e"]
    assert timings.open("abcde", again=True) == ["b", "c", "e"]
    assert calm.better_than(slow)
    assert not slow.better_than(calm)
    assert replace(calm, spread=0.01).better_than(calm)


def test_results_are_written(tmp_path, monkeypatch, table, capsys):
    monkeypatch.setattr(benchmark_host, "measure_all", Machine(table, 1.0, table.model.speed))
    assert main(["--table", TABLE, "--networks", "5", "--out", str(tmp_path)]) == 0
    body = json.loads((tmp_path / "host.json").read_text())
    assert body["sampled"]["networks"] == 5
    assert all(body["met"].values())
    assert (tmp_path / "host.md").read_text().startswith("# Measured against predicted")
    assert (tmp_path / "host.csv").read_text().count("\n") == 1 + 5 + len(zoo.names())
    assert main(["--table", "iphone12", "--out", str(tmp_path)]) == 2
    assert main(["--table", TABLE, "--networks", "2"]) == 2
    assert "Traceback" not in capsys.readouterr().err
