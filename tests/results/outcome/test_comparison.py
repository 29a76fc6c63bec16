"""Wins, ties and losses."""

import json

import pytest
import yaml

from results.accuracy.campaign_table import Row, Table
from results.outcome import comparison
from results.outcome.comparison import compare, lead
from searchspace.errors import UserError


def row(name, seed, top1, recipe="long"):
    return Row(
        name, name, seed, recipe, recipe, "set:100+2000", 3, 64, 1.0, 1.0,
        f"3:{top1}", top1, 100.0, 1.0, 1.0, 60.0, "cpu",
    )  # fmt: skip


ROWS = [
    row(name, seed, top1 + shift)
    for name, top1 in (("seed", 70.0), ("scaled", 74.0), ("best", 80.0), ("close", 70.5))
    for seed, shift in ((0, -0.5), (1, 0.5))
]
GROUPS = [
    {"latency": "2 ms", "published": ["seed"], "scaled": ["scaled"], "winners": ["best", "close"]}
]


def test_what_is_clear_is_a_win_or_a_loss_and_the_rest_a_tie():
    (group,) = compare(ROWS, GROUPS)["latencies"]
    found = {(c["winner"], c["against"]): c["verdict"] for c in group["comparisons"]}
    assert found == {
        ("best", "seed"): "win",
        ("best", "scaled"): "win",
        ("close", "seed"): "tie",
        ("close", "scaled"): "loss",
    }


def test_a_lead_turns_with_its_sides_and_narrows_with_seeds_and_images():
    ours, theirs = [80.0, 81.0], [78.0, 79.0]
    one, other = (lead(a, b, 0.7, 4, 2000) for a, b in ((ours, theirs), (theirs, ours)))
    assert one["lead"] == -other["lead"] == 2.0
    assert one["interval"] == [-value for value in reversed(other["interval"])]

    def width(found):
        return found["interval"][1] - found["interval"][0]

    assert width(lead(ours * 4, theirs * 4, 0.7, 4, 2000)) < width(one)
    assert width(lead(ours, theirs, 0.7, 4, 20_000)) < width(one)
    assert width(lead(ours, theirs, 0.7, 4, 2000, level=0.95)) > width(one)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([*ROWS, row("best", 0, 1.0, "short")], "2 recipes"),
        (ROWS[:6], "close: not trained"),
        (ROWS[::2], "two seeds"),
    ],
)
def test_what_cannot_be_compared_is_refused(rows, message):
    with pytest.raises(UserError, match=message):
        compare(rows, GROUPS)


def test_the_command_writes_both_forms(tmp_path, capsys):
    table = Table(tmp_path / "outcome.csv")
    for entry in ROWS:
        table.append(entry)
    groups = tmp_path / "groups.yaml"
    groups.write_text(yaml.safe_dump(GROUPS))
    out = tmp_path / "found.json"
    command = [str(groups), "--trainings", str(table.path), "--out", str(out)]
    assert comparison.main(command) == 0
    assert "| best | 79.5, 80.5 | seed (published) |" in capsys.readouterr().out
    assert json.loads(out.read_text())["latencies"][0]["latency"] == "2 ms"
    assert comparison.main([*command, "--recipe", "other"]) == 2
