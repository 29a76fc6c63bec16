"""No table claims more of another package's block than it knows, and scores bear with it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from effsearch.accuracy.registry import load_source
from effsearch.latency import DeviceTable
from effsearch.latency.catalogue import table_paths
from searchspace import SearchSpace, zoo
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


def test_the_default_score_promises_nothing_of_a_family_it_does_not_know(architecture):
    source = load_source("imagenet")
    score = source.score(architecture)
    assert math.isfinite(score.score)
    assert score.lower_bound < source.score(zoo.load("shvit_s1")).lower_bound
