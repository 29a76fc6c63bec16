"""Who is compared: what the files say is what the runs found, measured."""

from __future__ import annotations

import yaml

import effsearch
from results.outcome import contestants
from results.outcome.comparison import read_groups
from searchspace import Architecture


def test_networks_of_a_run_are_written_with_their_measured_latency(tmp_path):
    run = tmp_path / "run"
    found = effsearch.find("iphone12", 1.2, consider=3000, trials=60, winners=2, out=run)
    asked = ["--pair", f"shvit_s1={run}", "--rounds", "1", "--seconds", "0.01"]
    assert contestants.main([*asked, "--out", str(tmp_path)]) == 0
    (group,) = read_groups(tmp_path / "outcome.yaml")
    assert group["published"] == ["shvit_s1"]
    assert group["winners"] == ["shvit_s1-winner-1", "shvit_s1-winner-2"]
    names = [*group["published"], *group["scaled"], *group["winners"]]
    assert set(group["measured_ms"]) == set(names)
    assert all(ms > 0 for ms in group["measured_ms"].values())
    for name, winner in zip(group["winners"], found.winners, strict=True):
        written = Architecture.from_yaml(tmp_path / "contestants" / f"{name}.yaml")
        assert written.digest() == winner.architecture.digest()
    assert yaml.safe_load((tmp_path / "outcome.yaml").read_text()) == [group]


def test_a_folder_that_is_no_run_ends_in_a_line(tmp_path, capsys):
    assert contestants.main(["--pair", f"shvit_s1={tmp_path}", "--out", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err
