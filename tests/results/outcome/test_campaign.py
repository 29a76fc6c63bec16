"""The campaign: what it trains, that it goes on where it stopped, and what it refuses."""

import pytest

from results.accuracy.campaign_table import Table
from results.outcome import campaign
from results.outcome.judge import curve_of


@pytest.fixture
def command(tree, tmp_path, quick):
    quick.to_yaml(tmp_path / "quick.yaml")
    quick.replace(epochs=2 * quick.epochs).to_yaml(tmp_path / "longer.yaml")
    return [
        "--data", str(tree),
        "--out", str(tmp_path / "trainings.csv"),
        "--recipes", str(tmp_path / "longer.yaml"), str(tmp_path / "quick.yaml"),
        "--device", "cpu",
    ]  # fmt: skip


def listed(command, capsys):
    assert campaign.main([*command, "--list"]) == 0
    return capsys.readouterr().out.splitlines()


def test_published_networks_of_all_families_come_cheapest_recipe_first(command, capsys):
    lines = listed([*command, "--seeds", "0"], capsys)
    assert len(lines) == 2 * 8
    assert all(" quick seed 0 " in line for line in lines[:8])
    families = {line.split()[4].split("_")[0] for line in lines[:4]}
    assert families == {"shvit", "efficientvit", "efficientmod", "swiftformer"}


def test_any_networks_train_once_with_a_point_for_every_epoch(
    command, architectures, tmp_path, capsys
):
    files = sorted(architectures.glob("*.yaml"))[:2]
    only = [*command, "--architectures", *map(str, files), "--seeds", "0"]
    only = [word for word in only if not word.endswith("longer.yaml")]
    assert len(listed(only, capsys)) == 2
    assert campaign.main([*only, "--minutes", "0"]) == 0
    assert not Table(tmp_path / "trainings.csv").rows
    assert campaign.main(only) == 0
    rows = Table(tmp_path / "trainings.csv").rows
    assert {row.architecture for row in rows} == {file.stem for file in files}
    assert all(sorted(curve_of(row)) == list(range(1, row.epochs + 1)) for row in rows)
    assert listed(only, capsys) == []
    assert campaign.main(only) == 0
    assert len(Table(tmp_path / "trainings.csv").rows) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--networks", "shvit_s9"], "no published network"),
        (["--data", "nowhere.zip"], "does not exist"),
        (["--recipes", "unheard-of"], "unheard-of"),
        (["--architectures", "1/architecture.yaml", "2/architecture.yaml"], "a name of its own"),
        (["--architectures", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_bad_requests_are_one_line(command, change, message, capsys):
    assert campaign.main([*command, *change]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
