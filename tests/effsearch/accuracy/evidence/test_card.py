import json

import pytest

from effsearch.accuracy.evidence.card import Files, make, verdict, write
from effsearch.accuracy.evidence.fit import fit
from effsearch.accuracy.trained import TrainedEstimate
from searchspace import zoo
from searchspace.errors import UserError


@pytest.fixture(scope="module")
def card(files, tmp_path_factory):
    nowhere = tmp_path_factory.mktemp("nothing") / "none"
    found = Files(files / "evidence.csv", files, nowhere, nowhere, nowhere)
    return {**make(found, repeats=1), "command": "effsearch card --repeats 1"}


def test_the_card_says_of_every_score_how_it_ranks(card, tmp_path):
    for table in card["agreement"].values():
        for row in table["scores"]:
            low, high = row["interval"]
            assert -1 <= low <= high <= 1
    taus = {row["score"]: row["tau"] for row in card["agreement"]["all"]["scores"]}
    assert {"params", "macs", "depth", "depth+macs", "imagenet", "joint"} <= set(taus)
    assert taus["joint"] > taus["params"]
    assert len(card["per_band"]) == 2
    assert [row["name"] for row in card["degenerates"]] != []
    assert card["planted"]["imagenet"] == 0
    write(card, tmp_path)
    assert json.loads((tmp_path / "proxy_card.json").read_text())["networks"] == card["networks"]
    text = (tmp_path / "proxy_card.md").read_text()
    assert "| joint | trained |" in text
    assert (tmp_path / "proxy_card.png").stat().st_size > 10_000


def test_the_default_changes_only_where_the_lead_is_certain():
    def agreement(lead, tau):
        rows = [
            {"score": "imagenet", "group": "published", "tau": 0.3},
            {"score": "joint, ImageNet", "group": "trained", "tau": tau, "rival": "imagenet",
             "lead": tau - 0.3, "lead_over_published_interval": [lead, lead + 0.2]},
        ]  # fmt: skip
        return {"scores": rows}

    def default(*tables):
        return verdict(dict(zip(("all", "near"), tables, strict=True)))["default"]

    assert default(agreement(0.02, 0.5), agreement(-0.1, 0.4)) == "trained"
    assert default(agreement(-0.01, 0.5), agreement(-0.1, 0.4)) == "imagenet"
    assert default(agreement(0.1, 0.5), agreement(-0.3, 0.2)) == "imagenet"


def test_the_fitted_source_scores_like_the_model_in_the_file(trained, source):
    card = json.loads(json.dumps(fit(trained, source)))
    estimate = TrainedEstimate(card)
    score = estimate.score(zoo.load("shvit_s1"))
    assert 60 < score.score < 80
    assert score.std > 0
    assert TrainedEstimate(card).score(zoo.load("shvit_s1")) == score
    assert f"{len(trained)} networks" in estimate.note


def test_broken_files_are_named(trained, source, tmp_path):
    card = fit(trained, source)
    for change, word in (
        ({"schema": 99}, "schema"),
        ({"scales": {}}, "scales"),
        ({"networks": []}, "networks"),
        ({"encoding": ["a"]}, "encoding"),
        ({"networks": [{**card["networks"][0], "totals": [1]}] * 2}, r"networks\[0\]\.totals"),
    ):
        with pytest.raises(UserError, match=word):
            TrainedEstimate({**card, **change})
    with pytest.raises(UserError, match="no such score file"):
        TrainedEstimate.load(tmp_path / "none.json")
