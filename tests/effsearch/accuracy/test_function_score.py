"""A person's own function as the score."""

import json
import sys

import pytest

from effsearch.accuracy.function_score import FunctionOptions
from effsearch.accuracy.registry import load_source
from effsearch.cli import main
from searchspace import SearchSpace, UserError, zoo
from tests.fixtures.score_contract import keeps_the_contract

GOOD = """
from effsearch.accuracy.score import Score

def depth(architecture):
    return architecture.depth

def doubtful(architecture):
    return Score(architecture.depth, 2.0)

number = 3

def fails(architecture):
    raise KeyError("width")

def word(architecture):
    return "good"

def nothing(architecture):
    return None

def infinite(architecture):
    return float("inf")
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_scores.py").write_text(GOOD)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_scores", None)


def source(text):
    return load_source("function", FunctionOptions(score=text))


@pytest.mark.parametrize(("name", "std"), [("depth", 0.0), ("doubtful", 2.0)])
def test_it_keeps_the_contract(module, name, std):
    found = source(f"my_scores:{name}")
    keeps_the_contract(found, "function", zoo.load("shvit_s1"), zoo.load("shvit_s2"))
    assert found.score(zoo.load("shvit_s1")) == (zoo.load("shvit_s1").depth, std)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("my_scores", "not module:function"),
        ("no_such:depth", "no_such"),
        ("my_scores:width", "width"),
        ("my_scores:number", "is no function"),
        ("my_scores:fails", "KeyError"),
        ("my_scores:word", "'good', which is no finite number"),
        ("my_scores:nothing", "None, which is no finite number"),
        ("my_scores:infinite", "inf, which is no finite number"),
    ],
)
def test_what_is_wrong_is_told_by_the_functions_name(module, text, message):
    with pytest.raises(UserError, match=message) as caught:
        source(text).check(SearchSpace.load("tiny"))
    assert text in str(caught.value)


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as caught:
        main([str(a) for a in arguments])
    return caught.value.code, *capsys.readouterr()


def test_a_run_ranks_by_it_and_notices_when_it_changed(module, capsys):
    options = ["--space", "tiny", "--device", "iphone12", "--budget-ms", 1, "--workers", 1]
    code, out, err = run(
        capsys,
        "run",
        *options,
        "--score",
        "my_scores:depth",
        "--trials",
        80,
        "--out",
        "r",
        "--json",
    )
    assert code == 0, err
    summary = json.loads(out)
    assert summary["score"]["source"] == "function"
    best = summary["winners"][0]["score"]
    assert best == max(winner["score"] for winner in summary["winners"])
    (module / "my_scores.py").write_text(GOOD.replace("architecture.depth", "-architecture.depth"))
    sys.modules.pop("my_scores")
    code, _, err = run(capsys, "run", "--resume", "r")
    assert code == 2
    assert "changed" in err


def test_a_function_that_is_none_leaves_no_folder(module, capsys):
    options = ["--device", "iphone12", "--budget-ms", 1, "--score", "my_scores:word", "--out", "r"]
    code, _, err = run(capsys, "run", *options)
    assert code == 2
    assert "my_scores:word" in err
    assert not (module / "r").exists()
