"""Networks of a person's own: considered, shown with their numbers, and winners where best."""

import csv
import json

import pytest

from searchspace import Architecture, SearchSpace, zoo

ASKED = (
    "run", "--device", "iphone12", "--workers", 1, "--winners", 2, "--trials", 100,
)  # fmt: skip
SMALL = (*ASKED, "--budget-ms", 1.2, "--space", "small", "--consider", 1500)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A member of `small`, and a network that no shipped space has."""
    folder = tmp_path_factory.mktemp("mine")
    space = SearchSpace.load("small")
    member = space.nearest(zoo.load("shvit_s1")).renamed("mine")
    member.to_yaml(folder / "mine.yaml")
    data = zoo.load("swiftformer_xs").to_dict()
    outside = Architecture.from_dict({**data, "resolution": 200, "name": ""})
    assert outside not in space
    outside.to_yaml(folder / "strange.yaml")
    return folder


def rows(folder):
    with (folder / "trials.csv").open(newline="") as file:
        return {row["digest"]: row for row in csv.DictReader(file)}


def test_they_stand_in_table_report_picture_and_summary(files, effsearch, tmp_path):
    folder = tmp_path / "r"
    enqueue = [files / "mine.yaml", files / "strange.yaml", "shvit_s1"]
    status, body, err = effsearch(
        *SMALL, *(x for e in enqueue for x in ("--enqueue", e)), "--out", folder, "--json"
    )
    assert status == 0, err
    found = body["yours"]
    assert [row["name"] for row in found] == ["mine", "strange", "shvit_s1"]
    assert [row["in_space"] for row in found] == [True, False, False]
    trials, best = rows(folder), body["winners"][0]
    for row in found:
        trial = trials[row["digest"]]
        assert float(trial["mean_ms"]) == pytest.approx(row["mean_ms"])
        assert (trial["feasible"] == "1") == row["fits"] == (row["quantile_ms"] <= 1.2)
        if row["winner"] != 1:
            assert row["winner_gains"]["score"] == pytest.approx(best["score"] - row["score"])
    assert trials[found[2]["digest"]]["origin"] == "published"
    page = (folder / "report.html").read_text()
    assert "yours, outside of the space, so not varied" in page
    (files / "mine.yaml").rename(files / "moved.yaml")
    status, again, err = effsearch("run", "--resume", folder, "--workers", 1, "--json")
    (files / "moved.yaml").rename(files / "mine.yaml")
    assert status == 0, err
    assert [r["digest"] for r in again["yours"]] == [r["digest"] for r in found]
    status, _, err = effsearch("run", "--resume", folder, "--enqueue", files / "strange.yaml")
    assert status == 2
    assert "--enqueue: strange differs from mine, strange, shvit_s1" in err


@pytest.mark.parametrize("how", [("--consider", 300), ("--trials", 60, "--consider", 60)])
def test_one_from_outside_wins_where_it_is_best(files, effsearch, tmp_path, how):
    folder = tmp_path / "r"
    status, body, err = effsearch(
        *ASKED, *how, "--budget-ms", 2, "--space", "tiny", "--enqueue", files / "strange.yaml",
        "--out", folder, "--json",
    )  # fmt: skip
    assert status == 0, err
    assert body["winners"][0]["digest"] == body["yours"][0]["digest"]
    assert body["yours"][0]["winner"] == 1
    written = Architecture.from_yaml(folder / "winners" / "1" / "architecture.yaml")
    assert written.resolution == 200
    assert len(body["winners"]) == 2


def test_a_search_goes_on_from_one_in_the_space(effsearch, tmp_path):
    """The best of a long search, enqueued in a short one, is not lost."""
    status, long, err = effsearch(*SMALL, "--seed", 3, "--out", tmp_path / "long", "--json")
    assert status == 0, err
    best = long["winners"][0]
    status, short, err = effsearch(
        *SMALL, "--consider", 900, "--out", tmp_path / "short", "--json",
        "--enqueue", tmp_path / "long" / "winners" / "1",
    )  # fmt: skip
    assert status == 0, err
    assert short["winners"][0]["lower_bound"] >= best["lower_bound"]


def test_a_slow_score_is_asked_of_them_too(files, effsearch, tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(
        "def score(network):\n"
        "    if network.resolution == 200:\n"
        "        raise ValueError('too strange')\n"
        "    return network.depth\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    status, body, err = effsearch(
        *ASKED, "--budget-ms", 1.2, "--space", "small", "--trials", 40, "--score", "mine:score",
        "--enqueue", files / "mine.yaml", "--enqueue", files / "strange.yaml",
        "--out", tmp_path / "r", "--json",
    )  # fmt: skip
    assert status == 0, err
    member, strange = body["yours"]
    assert member["score"] == Architecture.from_yaml(files / "mine.yaml").depth
    assert "too strange" in strange["error"]
    assert json.loads((tmp_path / "r" / "summary.json").read_text())["yours"] == body["yours"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--enqueue", "nope.yaml"), "nope.yaml: no such architecture file"),
        (("--enqueue", "shvit_s9"), "did you mean shvit_s4?"),
        (("--enqueue", "shvit_s1", "--enqueue", "shvit_s1"), "the same network as shvit_s1"),
        (("--enqueue", "x.onnx"), "not an ONNX file"),
        (("--enqueue", "shvit_s1", "--enqueue", "shvit_s2", "--trials", 1), "--trials: 1 are less"),
    ],
)
def test_a_wrong_one_is_one_line(options, words, effsearch, tmp_path):
    status, _, err = effsearch(*SMALL, "--out", tmp_path / "r", *options)
    assert status == 2
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_where_nothing_fits_they_are_told_too(files, effsearch, tmp_path):
    status, _, err = effsearch(
        *ASKED, "--budget-ms", 0.01, "--space", "tiny", "--enqueue", files / "mine.yaml",
        "--out", tmp_path / "r",
    )  # fmt: skip
    assert status == 3
    assert "Yours: mine (" in err
