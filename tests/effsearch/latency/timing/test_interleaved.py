"""Turns, calm ones, the two references, and what their times say of a network."""

import itertools
import json
import time

import numpy as np
import pytest

from effsearch.cli import main
from effsearch.latency import DeviceTable
from effsearch.latency.machine_speed import MachineSpeed, slowness
from effsearch.latency.timing import interleaved as turns
from effsearch.latency.timing import with_references as beside
from effsearch.latency.timing.interleaved import (
    TimedTurn,
    TurnTaker,
    calm_speed,
    calm_turns,
    summarise,
    take_turn,
    take_turns,
)
from effsearch.latency.timing.measure import Measurement, median_error
from effsearch.latency.timing.references import product_model
from effsearch.latency.timing.runtimes import find_runtime
from effsearch.latency.timing.with_references import (
    TableSpeedTimer,
    TimedNetworks,
    measure_with_references,
)
from effsearch.onnx_io.onnx_files import to_onnx
from searchspace import UserError, build, zoo


def taker(times, products, kept=None):
    found = TurnTaker(lambda: None, len(times), 0.0)
    kept = kept or [True] * len(times)
    found.turns = [TimedTurn((ms, ms), (good, good)) for ms, good in zip(times, kept, strict=True)]
    found.probes = [(MachineSpeed(2.0, p), MachineSpeed(2.0, p)) for p in products]
    return found


class Clockwork:
    """Preemptions at the given runs; the first run of a turn does not count."""

    def __init__(self, monkeypatch, disturbed):
        self.runs = 0
        self.lost = 0
        self.disturbed = set(disturbed)
        monkeypatch.setattr(turns, "preemptions", lambda: self.lost)

    def run(self):
        self.lost += self.runs in self.disturbed
        self.runs += 1


def test_a_turn_goes_on_until_enough_runs_were_left_alone(monkeypatch):
    clock = Clockwork(monkeypatch, disturbed=[1, 3])
    turn = take_turn(clock.run, seconds=0.0, min_runs=2)
    assert turn.kept == (False, True, False, True)
    assert clock.runs == 5, "one to fill the caches"
    assert not turn.disturbed


def test_a_turn_gives_up_where_the_cores_are_never_its_own(monkeypatch):
    clock = Clockwork(monkeypatch, disturbed=range(100))
    turn = take_turn(clock.run, seconds=0.0, min_runs=2)
    assert len(turn.times_ms) == turns.PATIENCE * 2
    assert turn.disturbed
    assert turn.median_ms > 0


def test_a_blip_in_a_long_run_does_not_matter(monkeypatch):
    monkeypatch.setattr(turns, "MS_PER_BLIP", 1e-6)
    clock = Clockwork(monkeypatch, disturbed=range(100))
    assert take_turn(clock.run, seconds=0.0, min_runs=2).kept == (True, True)


def test_runs_that_were_disturbed_do_not_count_for_the_median():
    assert TimedTurn((1.0, 9.0, 1.2), (True, False, True)).median_ms == pytest.approx(1.1)


def test_turns_beside_a_slow_product_do_not_count():
    slow = [0.5, 0.5, 0.9, 0.5, 0.5, 0.5]
    one = taker([2.0, 2.0, 3.6, 2.0, 2.1, 9.0], slow, [True] * 5 + [False])
    (calm,) = calm_turns([one])
    assert calm == [True, True, False, True, True, False]
    found = summarise(one, calm, threads=1, limit=0.03)
    assert found.median_ms == 2.0
    assert not found.noisy
    assert summarise(one, [True, True] + [False] * 4, threads=1, limit=0.03).noisy, "too few"


def test_turns_beside_a_slow_reference_network_do_not_count():
    one = taker([2.0] * 6, [0.5] * 6)
    one.probes[2] = (MachineSpeed(2.0, 0.5), MachineSpeed(2.9, 0.5))
    assert calm_turns([one]) == [[True, True, False, True, True, True]]
    speeds = [
        MachineSpeed(2.0, 0.5),
        MachineSpeed(2.1, 0.5),
        MachineSpeed(2.0, 0.9),
        MachineSpeed(2.9, 0.5),
        MachineSpeed(2.05, 0.5),
    ]
    assert calm_speed(speeds)[0] == MachineSpeed(2.05, 0.5)


def test_networks_that_lack_calm_turns_get_more():
    """While the machine is slow, and until there are enough calm ones or the time is over."""
    slow = iter([True] * 4 + [False] * 100)
    one = TurnTaker(lambda: time.sleep(0.002), 5, 0.0, 1)
    take_turns([one], lambda: MachineSpeed(4.0 if next(slow) else 2.0, 0.5))
    (calm,) = calm_turns([one])
    assert sum(calm) >= min(turns.CALM_TURNS, len(one.turns) - 3)
    assert len(one.turns) > 5
    never = TurnTaker(lambda: time.sleep(0.002), 5, 0.0, 1)
    steps = itertools.count(2.0, 1.0)
    take_turns([never], lambda: MachineSpeed(next(steps), 0.5))
    assert 5 < len(never.turns) < 40


def test_the_error_of_a_median_falls_with_the_turns():
    rng = np.random.default_rng(0)
    medians = [np.median(rng.normal(1.0, 0.1, 40)) for _ in range(400)]
    estimated = np.mean([median_error(rng.normal(1.0, 0.1, 40)) for _ in range(400)])
    assert estimated == pytest.approx(np.std(medians), rel=0.15)
    assert median_error([1.0] * 9) == 0.0


def test_takers_with_fewer_rounds_sit_some_out():
    order = []
    few, many = (TurnTaker(lambda name=name: order.append(name), rounds, 0.0, 1)
                 for name, rounds in (("a", 2), ("b", 4)))  # fmt: skip

    probes = itertools.count()
    speed, error = take_turns([few, many], lambda: MachineSpeed(2.5, 0.5 + 0 * next(probes)))
    assert (len(few.turns), len(many.turns)) == (2, 4)
    assert len(few.probes) == 2
    assert next(probes) == 7, "one before all turns, and one after each"
    assert (speed, error) == (MachineSpeed(2.5, 0.5), 0.0)


def test_networks_lie_between_the_references():
    streams = np.array([0.0, 0.5, 1.0, 2.0, 9.0])
    found = slowness(streams, 1.44, 1.0)
    np.testing.assert_allclose(found, [1.0, 1.2, 1.44, 1.44, 1.44])
    np.testing.assert_allclose(slowness(streams, 1.1, 1.1), 1.1)
    np.testing.assert_allclose(slowness(streams, 1.44, 1.0, most=2.0)[3:], 1.44**2)


def test_models_are_measured_beside_the_references():
    small = product_model()
    found = measure_with_references([small, small], small, 1, seconds=0.05)
    assert len(found.measurements) == 2
    assert all(m.median_ms > 0 and m.threads == 1 for m in found.measurements)
    assert found.speed.reference_ms > 0
    assert found.speed.product_ms > 0
    assert 0 <= found.calm <= 1


def test_a_network_is_measured_beside_a_tables_references(monkeypatch, tmp_path):
    table = DeviceTable.load("epyc-zen5-1t")
    usual = table.model.speed
    slow = MachineSpeed(usual.reference_ms * 1.25, usual.product_ms * 1.25)
    one = Measurement(4.0, 30, 1, 0.01, 3.9, 4.1, False)
    monkeypatch.setattr(
        beside,
        "measure_with_references",
        lambda *given, **more: TimedNetworks((one,), slow, 0.01, 1.0),
    )
    here = TableSpeedTimer(table)
    found = here(zoo.load("shvit_s1"))
    assert found.median_ms == 4.0
    assert found.at_table_speed_ms == pytest.approx(4.0 / 1.25)
    path = tmp_path / "shvit.onnx"
    path.write_bytes(to_onnx(build(zoo.load("shvit_s1"))).SerializeToString())
    assert here(path).at_table_speed_ms == pytest.approx(4.0 / 1.25)
    with pytest.raises(UserError, match="threads"):
        here(zoo.load("shvit_s1"), threads=2)
    with pytest.raises(UserError, match="effsearch profile"):
        TableSpeedTimer(DeviceTable.load("iphone12"))
    with pytest.raises(UserError, match=r"of ONNX Runtime in float32; .* ONNX Runtime in int8;"):
        TableSpeedTimer(table, find_runtime(precision="int8"))


def test_the_command_says_both(monkeypatch, capsys):
    one = Measurement(4.0, 30, 1, 0.01, 3.9, 4.1, False, 3.2)
    monkeypatch.setattr(TableSpeedTimer, "__call__", lambda self, *given, **more: one)
    with pytest.raises(SystemExit) as exit_:
        main(["measure", "shvit_s1", "--device", "epyc-zen5-1t", "--json"])
    assert exit_.value.code == 0
    (row,) = json.loads(capsys.readouterr().out)["measurements"]
    assert (row["median_ms"], row["at_table_speed_ms"], row["device"]) == (4.0, 3.2, "epyc-zen5-1t")
    with pytest.raises(SystemExit) as exit_:
        main(["measure", "shvit_s1", "--device", "iphone12"])
    assert exit_.value.code == 2
