"""What populations cost and score, against one network at a time."""

import numpy as np
import pytest

from effsearch.accuracy.registry import load_source
from effsearch.latency import DeviceTable
from effsearch.search.considering.assessment import Assessor, Population, joined
from effsearch.search.evaluation import Evaluator
from effsearch.search.limits import Limits
from searchspace import SearchSpace
from searchspace.space import space_names
from searchspace.variation import Variation

FIELDS = ("mean_ms", "std_ms", "quantile_ms", "score", "score_std", "lower_bound")


def assessor_of(space, evaluator, limits):
    hashes = Variation(space).hashes
    own = evaluator.table, evaluator.source, limits, evaluator.confidence
    return Assessor(space, *own, hashes, evaluator.others)


def evaluator_of(device, proxy, *others):
    tables = [DeviceTable.load(other) for other in others]
    return Evaluator(DeviceTable.load(device), load_source(proxy, None), 0.8, tables)


@pytest.mark.parametrize(
    ("name", "device", "proxy"),
    [
        *((name, "iphone12", "imagenet") for name in space_names() if name != "segmentation"),
        ("small", "iphone14", "depth+macs"),
        ("tiny", "iphone12", "params"),
    ],
)
def test_populations_are_what_their_networks_are_one_by_one(name, device, proxy):
    space = SearchSpace.load(name)
    evaluator = evaluator_of(device, proxy, "iphone13", "epyc-zen5-1t")
    codes = Variation(space).sample(25, np.random.default_rng(8))
    limits = Limits(2.0, 15.0, 1500.0, 4.0, 60.0, (("iphone13", 1.8),))
    assess = assessor_of(space, evaluator, limits)
    found, outcomes = assess(codes), assess.outcomes(codes)
    for row, code in enumerate(codes):
        one = evaluator.evaluate(space.decode(code))
        for field in FIELDS:
            assert getattr(outcomes[row], field) == pytest.approx(getattr(one, field), rel=1e-9)
        for count in ("params", "macs", "memory_bytes", "size_bytes"):
            assert getattr(outcomes[row], count) == getattr(one, count)
        assert outcomes[row].costs == pytest.approx(one.costs, rel=1e-9)
        assert [o.device for o in outcomes[row].elsewhere] == ["iphone13", "epyc-zen5-1t"]
        excess = sum(max(0.0, value) for value in limits.excess(one).values())
        assert found.violation[row] == pytest.approx(excess, rel=1e-8, abs=1e-9)
        assert found.quantile_ms[row] == pytest.approx(one.quantile_ms, rel=1e-9)
        if excess == 0:
            assert found.lower_bound[row] == pytest.approx(one.lower_bound, rel=1e-9)
        else:
            assert not np.isfinite(found.lower_bound[row])


def test_segmentation_networks_are_what_they_are_one_by_one():
    """Their backbones' totals count too; of their memory populations say nothing."""
    space = SearchSpace.load("segmentation")
    evaluator = evaluator_of("epyc-zen5-1t", "cityscapes")
    codes = Variation(space).sample(25, np.random.default_rng(8))
    assess = assessor_of(space, evaluator, Limits(400.0, 15.0))
    found, outcomes = assess(codes), assess.outcomes(codes)
    assert found.feasible.any()
    for row, code in enumerate(codes):
        one = evaluator.evaluate(space.decode(code))
        for field in (*FIELDS, "params", "macs", "size_bytes"):
            assert getattr(outcomes[row], field) == pytest.approx(getattr(one, field), rel=1e-9)
        assert outcomes[row].memory_bytes == 0 < one.memory_bytes
        if found.feasible[row]:
            assert found.lower_bound[row] == pytest.approx(one.lower_bound, rel=1e-9)


def test_a_cost_model_that_prices_one_by_one_serves_as_well(table):
    """`table` is none that finds features of many at once."""
    space = SearchSpace.load("tiny")
    evaluator = Evaluator(table, load_source("imagenet", None), 0.8)
    codes = Variation(space).sample(30, np.random.default_rng(1))
    outcomes = assessor_of(space, evaluator, Limits(2.0, None, None)).outcomes(codes)
    for outcome, code in zip(outcomes, codes, strict=True):
        assert outcome.mean_ms == pytest.approx(evaluator.evaluate(space.decode(code)).mean_ms)


def test_nobody_is_a_population_too():
    space, evaluator = SearchSpace.load("tiny"), evaluator_of("iphone12", "imagenet")
    assess = assessor_of(space, evaluator, Limits(2.0))
    nobody = Variation(space).sample(3, np.random.default_rng(0))[:0]
    assert len(assess(nobody)) == 0
    assert assess.outcomes(nobody) == []


def test_joined_populations_hold_each_network_once():
    space, evaluator = SearchSpace.load("tiny"), evaluator_of("iphone12", "macs")
    codes = Variation(space).sample(40, np.random.default_rng(2))
    assess = assessor_of(space, evaluator, Limits(1.0, None, None))
    whole = joined([assess(codes[:25]), assess(codes[15:]), Population.nobody(codes.shape[1])])
    assert len(whole) == len(np.unique(codes, axis=0))
    np.testing.assert_array_equal(assess(whole.codes).quantile_ms, whole.quantile_ms)


@pytest.mark.parametrize(
    "more",
    [
        {"also": (("iphone13", 0.75),)},
        {"also": (("iphone13", 0.8), ("epyc-zen5-1t", 1.5))},
        {"max_memory_mb": 1.0},
        {"max_size_mb": 8.0},
    ],
)
def test_only_what_meets_every_limit_is_feasible(more):
    space = SearchSpace.load("small")
    evaluator = evaluator_of("iphone12", "imagenet", "iphone13", "epyc-zen5-1t")
    codes = Variation(space).sample(200, np.random.default_rng(5))
    limits = Limits(1.0, **more)
    feasible = assessor_of(space, evaluator, limits)(codes).feasible
    wanted = []
    for code in codes:
        one = evaluator.evaluate(space.decode(code))
        assert len(limits.excess(one)) == 1 + len(more.get("also", "x"))
        wanted.append(all(excess <= 0 for excess in limits.excess(one).values()))
    assert feasible.tolist() == wanted
    assert 0 < sum(wanted) < sum(assessor_of(space, evaluator, Limits(1.0))(codes).feasible)
