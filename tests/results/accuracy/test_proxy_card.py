import csv
import json

import pytest

from results.accuracy.proxy_card import Files, make, write


@pytest.fixture(scope="module")
def card(files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("nothing")
    nowhere = folder / "none"
    with (files / "evidence.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    some = sorted({row["digest"] for row in rows})[::2]
    top1 = {row["digest"]: row["top1"] for row in rows}
    lines = ["digest,top1", *(f"{digest},{top1[digest]}" for digest in some)]
    (folder / "inherited.csv").write_text("\n".join(lines) + "\n")
    inherited = {"inherited": folder / "inherited.csv", "none": nowhere}
    found = Files(files / "evidence.csv", files, nowhere, nowhere, inherited)
    return {**make(found), "command": "python -m results.accuracy.proxy_card"}


def test_the_card_says_of_every_score_how_it_ranks(card, tmp_path):
    for table in card["agreement"].values():
        for row in table["scores"]:
            low, high = row["interval"]
            assert -1 <= low <= high <= 1
    rows = {row["score"]: row for row in card["agreement"]["all"]["scores"]}
    assert "none" not in rows
    assert rows["inherited"]["networks"] < card["networks"], "compared on the pairs that it has"
    assert rows["inherited"]["tau"] > 0.9, "the truth itself"
    assert rows["inherited"]["lead"] > 0
    assert "networks" not in rows["params"]
    taus = {row["score"]: row["tau"] for row in card["agreement"]["all"]["scores"]}
    assert {"params", "macs", "depth", "depth+macs", "imagenet"} <= set(taus)
    assert len(card["per_band"]) == 2
    assert [row["name"] for row in card["degenerates"]] != []
    assert card["planted"]["imagenet"] == 0
    write(card, tmp_path)
    assert json.loads((tmp_path / "proxy_card.json").read_text())["networks"] == card["networks"]
    text = (tmp_path / "proxy_card.md").read_text()
    assert "| imagenet | published |" in text
    assert (tmp_path / "proxy_card.png").stat().st_size > 10_000
