import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from effsearch.training.cost import Cost
from results.accuracy import campaign as evidence
from results.accuracy import campaign_worker as evidence_worker
from results.accuracy import fidelity
from results.accuracy.campaign_pool import Planner
from results.accuracy.campaign_table import Row, Table
from results.accuracy.campaign_worker import OutOfTimeError, Task, load_split, train_network
from searchspace.errors import UserError

ROW = Row(
    architecture="a",
    digest="d0",
    seed=0,
    recipe="quick",
    recipe_digest="r0",
    data="tree:48+24",
    epochs=2,
    side_px=32,
    params_m=1.25,
    macs_m=10.5,
    curve="1:40.00 2:50.00",
    top1=50.0,
    top5=90.0,
    val_loss=1.5,
    train_loss=2.0,
    seconds=3.5,
    device="CPU",
)


@pytest.fixture
def command(tree, architectures, tmp_path, quick):
    quick.to_yaml(tmp_path / "quick.yaml")
    return [
        "--architectures", str(architectures),
        "--data", str(tree),
        "--out", str(tmp_path / "results" / "evidence.csv"),
        "--recipe", str(tmp_path / "quick.yaml"),
        "--device", "cpu",
        "--threads", "1",
    ]  # fmt: skip


def rows_of(command):
    return Table(evidence.Path(command[5])).rows


def test_every_network_becomes_a_row_once(command, capsys):
    assert evidence.main([*command, "--workers", "0"]) == 0
    rows = rows_of(command)
    assert sorted(row.architecture for row in rows) == ["tiny16", "tiny24"]
    for row in rows:
        assert row.curve.split()[-1] == f"3:{row.top1:.2f}"
        assert (row.data, row.epochs, row.side_px) == ("tree:48+24", 3, 32)
        assert row.top5 == 100.0
        assert row.params_m > 0.01
    before = [row.seconds for row in rows]
    assert evidence.main([*command, "--workers", "0"]) == 0
    assert [row.seconds for row in rows_of(command)] == before
    assert "0 of 2 networks to train" in capsys.readouterr().err
    assert evidence.main([*command, "--workers", "0", "--seeds", "0", "1"]) == 0
    assert sorted((row.architecture, row.seed) for row in rows_of(command)) == [
        ("tiny16", 0), ("tiny16", 1), ("tiny24", 0), ("tiny24", 1),
    ]  # fmt: skip


def test_worker_processes_give_the_same_rows(command, tmp_path):
    assert evidence.main([*command, "--workers", "0"]) == 0
    other = [*command[:5], str(tmp_path / "pool.csv"), *command[6:]]
    assert evidence.main([*other, "--workers", "2"]) == 0
    alone = {row.digest: (row.curve, row.val_loss) for row in rows_of(command)}
    pooled = {row.digest: (row.curve, row.val_loss) for row in rows_of(other)}
    assert pooled == alone


def test_repeats_and_longer_trainings_are_spread_over_cost(command, tree, architectures, quick):
    tasks = evidence.make_tasks(architectures, tree, quick, repeat=1, repeat_seeds=[1, 2])
    assert sorted((task.path.stem, task.seed) for task in tasks) == [
        ("tiny16", 0), ("tiny24", 0), ("tiny24", 1), ("tiny24", 2),
    ]  # fmt: skip
    longer = evidence.fidelity_tasks(tasks, 2)
    assert [task.recipe.epochs for task in longer] == [9, 9]
    assert (architectures / "costs.csv").exists()
    evidence.main([*command, "--workers", "0", "--fidelity", "1", "--limit", "1"])
    assert [row.epochs for row in rows_of(command)] == [3]
    companion = Table(evidence.fidelity_path(evidence.Path(command[5])))
    assert [row.epochs for row in companion.rows] == [9]


def test_repeats_and_longer_trainings_can_be_of_the_cheapest(tree, architectures, quick):
    tasks = evidence.make_tasks(architectures, tree, quick, repeat=1, cheapest=0.01)
    least = min(tasks, key=lambda task: task.work).work
    assert {task.work for task in tasks if task.seed != 0} == {least}
    assert [task.digest for task in evidence.fidelity_tasks(tasks, 1, cheapest=0.01)] == [
        min(tasks, key=lambda task: task.work).digest
    ]


def test_costs_match_the_network(architectures, tree, quick):
    tasks = {task.path.stem: task for task in evidence.make_tasks(architectures, tree, quick)}
    from searchspace import Architecture, build

    network = build(Architecture.from_yaml(tasks["tiny24"].path), num_classes=3)
    assert tasks["tiny24"].cost.params == sum(p.numel() for p in network.parameters())
    assert tasks["tiny24"].work > tasks["tiny16"].work


def test_a_killed_training_continues(architectures, tree, quick, tmp_path, monkeypatch):
    task = evidence.make_tasks(architectures, tree, quick)[0]
    device = torch.device("cpu")
    split = load_split(tree, quick.source_side, device)
    whole = train_network(task, split, device)
    monkeypatch.setattr(evidence_worker, "_SAVE_EVERY_S", 0.0)

    class KilledError(Exception):
        pass

    def kill(done, seconds, loss):
        if done == 2:
            raise KilledError

    states = tmp_path / "states"
    with pytest.raises(KilledError):
        train_network(task, split, device, state_dir=states, report=kill)
    assert len(list(states.iterdir())) == 1
    begun = []
    resumed = train_network(
        task, split, device, state_dir=states, report=lambda done, *_: begun.append(done)
    )
    assert begun == [2, 3]
    assert (resumed.curve, resumed.val_loss) == (whole.curve, whole.val_loss)
    assert list(states.iterdir()) == []


def test_the_deadline_stops_before_the_next_epoch(architectures, tree, quick):
    task = evidence.make_tasks(architectures, tree, quick)[0]
    device = torch.device("cpu")
    with pytest.raises(OutOfTimeError):
        train_network(task, load_split(tree, 16, device), device, deadline=time.time() - 1)


def test_no_time_no_rows_but_a_clean_end(command):
    assert evidence.main([*command, "--workers", "1", "--minutes", "0"]) == 0
    assert rows_of(command) == []


@pytest.mark.slow
def test_stopping_the_command_keeps_its_rows(command, tmp_path):
    many = [*command, "--epochs", "40", "--workers", "1", "--seeds", *map(str, range(30))]
    process = subprocess.Popen(
        [sys.executable, "-m", "results.accuracy.campaign", *many],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    for line in process.stderr:
        if "top-1" in line:
            break
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert 1 <= len(rows_of(command)) < 60


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--architectures", "/nowhere"], "holds no architecture YAML files"),
        (["--data", "/nowhere"], "does not exist"),
        (["--recipe", "none"], "neither a file nor one of"),
        (["--set", "epochs"], "must be written FIELD=VALUE"),
        (["--set", "epoch=3"], "recipe.epoch: is unknown"),
    ],
)
def test_bad_requests_are_one_line(command, change, message, capsys):
    assert evidence.main([*command, *change]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert message in lines[0]


def test_benchmark_reports_speed_and_writes_no_rows(command, capsys):
    arguments = ["--benchmark", "workers=1,batch_size=24", "--benchmark-seconds", "2"]
    assert evidence.main([*command, *arguments]) == 0
    assert "networks/min" in capsys.readouterr().out
    assert rows_of(command) == []


class TestTable:
    def test_rows_come_back_as_written(self, tmp_path):
        Table(tmp_path / "t.csv").append(ROW)
        assert Table(tmp_path / "t.csv").rows == [ROW]

    def test_a_line_cut_short_is_dropped(self, tmp_path):
        path = tmp_path / "t.csv"
        table = Table(path)
        table.append(ROW)
        table.append(replace(ROW, seed=1))
        path.write_bytes(path.read_bytes()[:-20])
        again = Table(path)
        assert again.rows == [ROW]
        again.append(replace(ROW, seed=2))
        assert [row.seed for row in Table(path).rows] == [0, 2]

    def test_another_file_is_refused(self, tmp_path):
        (tmp_path / "t.csv").write_text("a,b\n1,2\n")
        with pytest.raises(UserError, match="no evidence table"):
            Table(tmp_path / "t.csv")

    def test_a_damaged_row_is_refused(self, tmp_path):
        path = tmp_path / "t.csv"
        Table(path).append(ROW)
        path.write_text(path.read_text().replace("3.5", "fast"))
        with pytest.raises(UserError, match="damaged row"):
            Table(path)


class TestPlanner:
    @pytest.fixture
    def tasks(self, quick, tmp_path):
        return [
            Task(tmp_path / f"{macs}.yaml", str(macs), 0, Cost(1, macs, 0), quick)
            for macs in (9_000_000, 3_000_000, 1_000_000)
        ]

    def test_hands_out_in_order_while_nothing_is_known(self, tasks):
        planner = Planner(tasks, deadline=100.0)
        assert [planner.take(0.0) for _ in range(4)] == [*tasks, None]

    def test_takes_what_still_fits(self, tasks):
        planner = Planner(tasks, deadline=100.0)
        planner.observe(tasks[0].work, 90.0)
        assert planner.expected_s(tasks[1]) == pytest.approx(30.0)
        assert planner.take(50.0) is tasks[1]
        assert planner.take(95.0) is None
        assert planner.take(0.0) is tasks[2]
        assert planner.take(0.0) is None
        assert planner.take(-10.0) is tasks[0]

    def test_nothing_after_the_deadline(self, tasks):
        assert Planner(tasks, deadline=math.nextafter(1.0, 0)).take(1.0) is None

    def test_graphs_can_be_forbidden(self, tasks):
        planner = Planner(tasks, deadline=math.inf)
        planner.forbid_capture()
        assert not any(task.capture for task in planner.waiting)


class TestFidelity:
    def rows(self, tops, epochs=3, seed=0):
        return [
            replace(ROW, digest=f"d{i}", architecture=f"n{i}", top1=top, epochs=epochs, seed=seed)
            for i, top in enumerate(tops)
        ]

    def test_tau_of_the_shared_networks(self):
        cheap, longer = self.rows([10, 20, 30, 40]), self.rows([11, 22, 44, 33], epochs=9)
        result = fidelity.compare(cheap, longer)
        assert result["tau"] == pytest.approx(4 / 6)
        assert (result["networks"], result["epochs"], result["epochs_longer"]) == (4, 3, 9)
        low, high = result["tau_interval_95"]
        assert low < result["tau"] < high

    def test_too_few_networks(self):
        with pytest.raises(UserError, match="2 network"):
            fidelity.compare(self.rows([1, 2, 3]), self.rows([1, 2], epochs=9))

    def test_seed_noise(self):
        rows = [*self.rows([10, 20, 30]), *self.rows([12, 20, 34], seed=1)]
        noise = fidelity.seed_noise(rows)
        assert noise["networks"] == 3
        assert noise["std_points"] == pytest.approx(math.sqrt((2 + 0 + 8) / 3))
        assert noise["tau_between_seeds"] == pytest.approx(1.0)

    def test_command_writes_json(self, tmp_path, capsys):
        table = tmp_path / "evidence.csv"
        for row in self.rows([10, 20, 30, 40]):
            Table(table).append(row)
        for row in self.rows([15, 25, 35, 45], epochs=9):
            Table(evidence.fidelity_path(table)).append(row)
        assert fidelity.main(["--table", str(table), "--out", str(tmp_path / "f.json")]) == 0
        assert json.loads((tmp_path / "f.json").read_text())["fidelity"]["tau"] == 1.0
        assert json.loads(capsys.readouterr().out)["fidelity"]["networks"] == 4
