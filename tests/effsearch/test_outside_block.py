"""No table claims more of another package's block than it knows, and scores bear with it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from effsearch.accuracy.registry import load_source
from effsearch.latency import DeviceTable
from effsearch.latency.catalogue import table_paths
from searchspace import Architecture, SearchSpace, zoo
from tests.fixtures.outside_package import SPACE, forget_blocks, install


@pytest.fixture
def architecture(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(install(tmp_path / "site"))
    forget_blocks()
    space, rng = SearchSpace.load(SPACE), np.random.default_rng(0)
    yield space.sample(rng)
    forget_blocks()


@pytest.mark.parametrize("name", sorted(table_paths()))
def test_its_latency_is_never_called_fitted(name, architecture):
    prediction = DeviceTable.load(name).predict(architecture)
    assert math.isfinite(prediction.mean_ms)
    found = [part for part in prediction.breakdown if part.type == "gated_conv"]
    assert found
    assert {part.kind for part in found} <= {"transferred", "estimated"}


def test_counts_score_it(architecture):
    assert load_source("macs").score(architecture).score > 0


@pytest.mark.parametrize(
    "known",
    [
        {"type": "shvit_conv", "expansion": 2.0, "kernel": 3},
        {"type": "swiftformer_conv", "expansion": 4.0, "kernel": 3},
        {"type": "efficient_mod", "expansion": 1.0, "kernel": 7},
        {"type": "mbconv", "expansion": 4.0, "kernel": 3},
    ],
    ids=lambda block: block["type"],
)
def test_the_default_score_is_less_sure_of_it_than_of_a_known_block(architecture, known):
    """On the scale that the score is learnt on: points shrink where the error is near chance."""
    data = architecture.to_dict()
    for stage in data["stages"]:
        assert {block["type"] for block in stage["blocks"]} == {"gated_conv"}
        stage["blocks"] = [{**known, "depth": block["depth"]} for block in stage["blocks"]]
    source = load_source("imagenet")
    foreign, twin = (
        source.estimate.log_error(source.features(network)[None])[1][0]
        for network in (architecture, Architecture.from_dict(data))
    )
    assert foreign > twin


def test_the_default_score_promises_less_of_it_than_of_a_published_network(architecture):
    source = load_source("imagenet")
    score = source.score(architecture)
    assert math.isfinite(score.score)
    assert score.lower_bound < source.score(zoo.load("shvit_s1")).lower_bound
