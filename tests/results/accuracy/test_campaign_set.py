import json

import numpy as np

from effsearch.latency import DeviceTable
from results.accuracy import campaign_set as evidence_set
from searchspace import Architecture, SearchSpace, zoo


def test_bands_are_narrow_and_spread_over_types():
    space, table = SearchSpace.load("small"), DeviceTable.load("iphone12")
    members = evidence_set.choose(space, table, [0.8, 1.1], per_band=6, seed=0, draws=600)
    assert {m.band for m in members} == {0, 1}
    for member, centre in ((m, (0.8, 1.1)[m.band]) for m in members):
        assert abs(np.log(member.mean_ms / centre)) <= np.log(evidence_set.BAND_WIDTH)
        assert member.architecture in space
        assert evidence_set.gmacs(member.architecture) <= evidence_set.MAX_GMACS
    assert len({b.type for m in members for s in m.architecture.stages for b in s.blocks}) >= 5


def test_small_versions_of_published_networks_keep_their_design():
    small = evidence_set.shrunk(zoo.load("efficientvit_b1"), 0.5)
    whole = zoo.load("efficientvit_b1")
    assert [s.depth for s in small.stages] == [s.depth for s in whole.stages]
    assert evidence_set.gmacs(small) < 0.5 * evidence_set.gmacs(whole)


def test_the_command_writes_architectures_and_an_index(tmp_path, capsys):
    evidence_set.main(
        ["--space", "tiny", "--device", "iphone12", "--centres-ms", "0.6", "--per-band", "3",
         "--degenerates", "2", "--out", str(tmp_path)]
    )  # fmt: skip
    assert "total" in capsys.readouterr().out
    index = json.loads((tmp_path / "index.json").read_text())
    for member in index["members"]:
        found = Architecture.from_yaml(tmp_path / f"{member['digest']}.yaml")
        assert found.digest() == member["digest"]


def test_an_index_takes_the_latencies_of_another_table(tmp_path):
    arguments = ["--space", "tiny", "--centres-ms", "0.6,0.8", "--per-band", "3"]
    evidence_set.main([*arguments, "--device", "iphone12", "--out", str(tmp_path)])
    evidence_set.main(["--reprice", "--device", "iphone13", "--out", str(tmp_path)])
    index, table = json.loads((tmp_path / "index.json").read_text()), DeviceTable.load("iphone13")
    assert index["device"] == "iphone13"
    for member in index["members"]:
        mean_ms = table.predict(
            Architecture.from_yaml(tmp_path / f"{member['digest']}.yaml")
        ).mean_ms
        assert abs(member["mean_ms"] - mean_ms) < 1e-3
    drawn = [m for m in index["members"] if m["origin"] == "tiny"]
    for band in (0, 1):
        assert len([m for m in drawn if m["band"] == band]) in (
            len(drawn) // 2,
            -(-len(drawn) // 2),
        )
    below = [m["mean_ms"] for m in drawn if m["band"] == 0]
    assert max(below) <= min(m["mean_ms"] for m in drawn if m["band"] == 1)
