import csv
import json

import pytest

from effsearch.accuracy.trained.source import TrainedEstimate
from results.accuracy.fit_trained import fit
from results.accuracy.proxy_card import Files, make, verdict, write
from searchspace import zoo
from searchspace.errors import UserError


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
    return {**make(found, repeats=1), "command": "effsearch card --repeats 1"}


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
            {"score": "joint", "group": "trained", "tau": 0.6, "rival": "macs", "lead": 0.1},
            {"score": "joint, ImageNet", "group": "trained", "tau": tau, "rival": "imagenet",
             "lead": tau - 0.3, "lead_over_published_interval": [lead, lead + 0.2]},
        ]  # fmt: skip
        return {"scores": rows}

    def default(*tables):
        return verdict(dict(zip(("all", "near"), tables, strict=True)))["default"]

    assert default(agreement(0.02, 0.5), agreement(-0.1, 0.4)) == "imagenet+trained"
    assert default(agreement(-0.01, 0.5), agreement(-0.1, 0.4)) == "imagenet"
    assert default(agreement(0.1, 0.5), agreement(-0.3, 0.2)) == "imagenet"


def test_the_fitted_source_scores_like_the_model_in_the_file(trained, source):
    card = json.loads(json.dumps(fit(trained, source)))
    for name, low, high in (("trained", 1, 60), ("imagenet+trained", 60, 80)):
        estimate = TrainedEstimate(card, name)
        score = estimate.score(zoo.load("shvit_s1"))
        assert low < score.score < high
        assert score.std > 0
        assert TrainedEstimate(card, name).score(zoo.load("shvit_s1")) == score
        assert f"{len(trained)} networks" in estimate.note


def test_what_was_trained_is_scored_near_what_it_reached(trained, source):
    estimate = TrainedEstimate(fit(trained, source))
    stated = estimate.held_out["cross_validation"]
    assert stated["networks"] == len(trained)
    tau, low, high = stated["kendall_tau"]
    assert -1 <= low <= tau <= high <= 1
    assert stated["rmse"] > 0
    found = [estimate.score(a) for a in trained.architectures]
    inside = [
        abs(score.score - top1) < 1.3 * score.std
        for score, top1 in zip(found, trained.top1, strict=True)
    ]
    assert sum(inside) > 0.7 * len(inside)


def test_broken_files_are_named(trained, source, tmp_path):
    card = fit(trained, source)
    for change, word in (
        ({"schema": 99}, "schema"),
        ({"held_out": {"trained": {}}}, "held_out"),
        ({"scales": {}}, "scales"),
        ({"networks": []}, "networks"),
        ({"encoding": ["a"]}, "encoding"),
        ({"networks": [{**card["networks"][0], "totals": [1]}] * 2}, r"networks\[0\]\.totals"),
    ):
        with pytest.raises(UserError, match=word):
            TrainedEstimate({**card, **change})
    with pytest.raises(UserError, match="no such score file"):
        TrainedEstimate.load(path=tmp_path / "none.json")
