"""Every score source: one contract."""

import json

import pytest
import typer
from typer.testing import CliRunner

from effsearch.accuracy.registry import entries, find, load_source
from effsearch.accuracy.supernet_options import SupernetOptions
from effsearch.cli import score as command
from searchspace import SearchSpace, UserError, build, operators, zoo
from tests.fixtures.score_contract import keeps_the_contract

# `supernet` needs a checkpoint: tests/effsearch/run/test_supernet_run.py has one; `function` a
# function: test_function_score.py.
NEEDY = {"supernet", "function"}
ALONE = tuple(name for name in entries() if name not in NEEDY)
CHEAP = tuple(name for name in ALONE if not find(name).slow)


def small_and_large(source):
    """Two published networks that a source scores."""
    if source.task == "segmentation":
        return tuple(zoo.load(f"efficientvit_seg_b{i}_cityscapes") for i in (0, 3))
    return zoo.load("shvit_s1"), zoo.load("shvit_s4")


@pytest.mark.parametrize("name", ALONE)
def test_contract(name, tmp_path):
    source = load_source(name)
    small, large = small_and_large(source)
    keeps_the_contract(source, name, small, large)
    source.check(SearchSpace.load("tiny"))
    assert source.weights_for(small, 0.0, tmp_path) is None


def test_only_those_that_need_something_are_tested_elsewhere():
    def needs(entry):
        return any(field.is_required() for field in entry.options.model_fields.values())

    assert {entry.name for entry in entries().values() if needs(entry)} == NEEDY


@pytest.mark.parametrize("name", CHEAP)
def test_larger_is_better_within_a_family(name):
    source = load_source(name)
    small, large = small_and_large(source)
    assert source.score(large).score > source.score(small).score


def test_counts_are_the_published_ones():
    network = zoo.load("shvit_s1")
    params = sum(p.numel() for p in build(network).parameters() if p.requires_grad)
    assert load_source("params").score(network).score == params == 6330808
    macs = sum(o.macs for o in operators(network, "train"))
    assert load_source("macs").score(network).score == macs
    assert load_source("depth").score(network).score == 11


def test_depth_and_macs_are_weighed_on_a_fixed_scale():
    source = load_source("depth+macs")
    values = [source.score(zoo.load(name)).score for name in zoo.names()]
    assert sum(values) / len(values) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("imagnet", "did you mean imagenet"),
        ("zerocost", "did you mean zero-cost"),
        ("?", "known: "),
    ],
)
def test_unknown_source(name, message):
    with pytest.raises(UserError, match=message):
        load_source(name)


def test_wrong_options():
    with pytest.raises(UserError, match="macs: takes ScoreOptions, not SupernetOptions"):
        load_source("macs", SupernetOptions(checkpoint="a", data="b"))
    with pytest.raises(UserError, match="needs --checkpoint FILE"):
        load_source("supernet")


def application() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return app


def test_command_prints_one_json_object(tmp_path):
    path = tmp_path / "net.yaml"
    zoo.load("shvit_s2").to_yaml(path)
    result = CliRunner().invoke(application(), ["score", "shvit_s1", str(path), "--json"])
    assert result.exit_code == 0
    rows = json.loads(result.stdout)["scores"]
    assert [row["target"] for row in rows] == ["shvit_s1", str(path)]
    assert {"target", "source", "score", "std", "kind", "lower_bound"} <= rows[0].keys()
    assert rows[0]["score"] < rows[1]["score"]


def test_command_says_what_the_numbers_are():
    result = CliRunner().invoke(application(), ["score", "shvit_s1", "--proxy", "zero-cost"])
    assert result.exit_code == 0
    assert "No zero-cost score beat counting MACs" in result.stderr


@pytest.mark.parametrize("target", ["shvit_s9", "missing.yaml", "network.onnx"])
def test_command_refuses_what_it_cannot_score(target):
    result = CliRunner().invoke(application(), ["score", target])
    assert isinstance(result.exception, UserError)
