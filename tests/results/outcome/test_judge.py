"""The judge on trainings whose agreement is known."""

import json

import numpy as np
import pytest
from scipy.stats import kendalltau

from effsearch.published import Published
from results.accuracy.campaign_table import Row, Table
from results.outcome import judge as judging
from results.outcome.judge import agreement, judge
from searchspace.errors import UserError

TRUTH = {f"n{i}": Published("even" if i % 2 == 0 else "odd", 70.0 + i, False, "") for i in range(8)}
MACS = {name: float(i) for i, name in enumerate(reversed(TRUTH))}


def row(name, curve, seed=0, recipe="short", data="set:100+50"):
    return Row(
        architecture=name,
        digest=name,
        seed=seed,
        recipe=recipe,
        recipe_digest=recipe,
        data=data,
        epochs=len(curve),
        side_px=64,
        params_m=1.0,
        macs_m=10.0,
        curve=" ".join(f"{epoch}:{top1:.2f}" for epoch, top1 in enumerate(curve, start=1)),
        top1=curve[-1],
        top5=100.0,
        val_loss=1.0,
        train_loss=1.0,
        seconds=60.0,
        device="cpu",
    )


def test_a_recipe_that_agrees_at_its_end_is_seen_to():
    order = list(TRUTH)
    rows = [row(name, [50 - i, 30 + i]) for i, name in enumerate(order)]
    (result,) = judge(rows, TRUTH, MACS)
    assert result["final"]["all"]["tau"] == 1.0
    assert result["final"]["all"]["interval_95"] == [1.0, 1.0]
    assert result["final"]["all"]["chance"] < 0.01
    assert result["final"]["within"]["pairs"] == 12
    assert [point["all"]["tau"] for point in result["curve"]] == [-1.0, 1.0]
    assert result["by_macs"]["all"]["tau"] == -1.0
    # 3 passes (forward, and twice that back) of 100 images and 10 million MACs, 2 epochs
    assert result["teramacs_median"] == pytest.approx(3 * 10e6 * 2 * 100 / 1e12)


def test_families_apart_and_the_wrong_way_between_them():
    values = {name: 10 * (i % 2 == 0) + i for i, name in enumerate(TRUTH)}
    rows = [row(name, [value]) for name, value in values.items()]
    (result,) = judge(rows, TRUTH, MACS)
    assert result["final"]["within"]["tau"] == 1.0
    assert result["final"]["all"]["tau"] < 1.0


def test_tau_is_scipys_and_its_interval_holds_it():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=12)
    score = truth + rng.normal(size=12)
    found = agreement(score, truth, ["x"] * 12)["all"]
    assert found["tau"] == pytest.approx(kendalltau(score, truth).statistic, abs=1e-4)
    assert found["interval_95"][0] <= found["tau"] <= found["interval_95"][1]


def test_seeds_are_averaged_and_recipes_kept_apart():
    noise = [3, -3]
    rows = [
        row(name, [30 + i + noise[(i + seed) % 2]], seed)
        for i, name in enumerate(TRUTH)
        for seed in (0, 1)
    ]
    rows += [row(name, [30 - i], recipe="long") for i, name in enumerate(TRUTH)]
    by_name = {result["recipe"]: result for result in judge(rows, TRUTH, MACS)}
    assert by_name["short"]["final"]["all"]["tau"] == 1.0
    assert by_name["short"]["trainings"] == 16
    assert by_name["short"]["seed_noise"]["std_points"] == pytest.approx(np.sqrt(18), abs=1e-6)
    assert by_name["long"]["final"]["all"]["tau"] == -1.0


def test_too_few_networks_are_a_clear_refusal():
    with pytest.raises(UserError, match="4 published networks"):
        judge([row("n0", [1.0]), row("elsewhere", [1.0])], TRUTH, MACS)


def test_the_command_writes_its_three_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(judging, "published", lambda: TRUTH)
    monkeypatch.setattr(judging, "published_macs", lambda: MACS)
    table = Table(tmp_path / "trainings.csv")
    for i, name in enumerate(TRUTH):
        table.append(row(name, [20.0 + i, 30.0 + i]))
    code = judging.main(["--trainings", str(table.path), "--out", str(tmp_path / "out")])
    assert code == 0
    (result,) = json.loads((tmp_path / "out" / "judge.json").read_text())
    assert result["final"]["all"]["tau"] == 1.0
    assert "1.00 (1.00 to 1.00)" in capsys.readouterr().out
    assert (tmp_path / "out" / "judge.png").stat().st_size > 1000
