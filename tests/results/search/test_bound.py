"""The bound on scores: every inequality that it rests on, and the whole against brute force."""

import copy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effsearch.accuracy.features import TOTALS
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.latency import DeviceTable
from effsearch.latency.table import quantile_ms
from results.search.bound import Ladder, bound
from results.search.bound_chain import Chain
from results.search.bound_terms import (
    BOXED,
    SPILL,
    LatencyPlane,
    Relaxation,
    log_error_of,
    score_bound,
)
from searchspace import SearchSpace
from searchspace import architecture as components
from searchspace.population import PopulationParts, PopulationTotals
from searchspace.units import Unit, units
from searchspace.variation import Variation

SLICE = "results/search/known_front.yaml"
SIZE = len(TOTALS)


class Case:
    """A space's units and random members; of a tiny one all."""

    def __init__(self, name, count):
        self.space = SearchSpace.load(name)
        self.source, self.table = ImagenetEstimate.load(), DeviceTable.load("iphone12")
        self.resolution = self.space.spec.resolution[0]
        codes = Variation(self.space).sample(count, np.random.default_rng(0))
        self.codes = codes = np.unique(codes, axis=0)
        parts = PopulationParts(self.space)
        self.members = PopulationTotals(parts, self.rows)(parts(codes))
        self.chain = Chain(self.space, self.resolution)
        self.units = self.rows(self.chain.units)
        mean, std = self.table.model.evaluate(self.members[:, SIZE:])
        self.quantile = quantile_ms(mean, std, 0.8)
        self.log_error, _ = self.source.estimate.log_error(self.members[:, :SIZE])
        score, std = self.source.score_features(self.members[:, :SIZE])
        self.lower = score - 0.8416212335729143 * std

    def units_of(self, member):
        """Return rows of a member's units."""
        network = self.space.decode(self.codes[member])
        return self.rows([placed.unit for placed in units(network)])

    def rows(self, units):
        return np.hstack([self.source.units_features(units), self.table.units_features(units)])


@pytest.fixture(scope="module", params=["tiny", SLICE])
def case(request):
    return Case(request.param, 20_000)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_no_member_costs_less_than_the_cheapest_path(case, seed):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=case.units.shape[1]) / (np.abs(case.units).mean(0) + 1e-9)
    weight[rng.random(len(weight)) < rng.random()] = 0
    weight[TOTALS.index("classifier.log2_width")] = 0
    cost = case.units @ weight
    path = case.chain.cheapest(cost)
    least = (case.members @ weight).min()
    assert path.cost <= least + 1e-9 * abs(least)
    assert cost[path.rows] @ np.array(path.counts) == pytest.approx(path.cost)
    if case.space.name == "tiny":
        assert path.cost == pytest.approx(least)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_the_line_lies_below_the_log_error_of_all_members_in_the_box(case, seed):
    rng = np.random.default_rng(seed)
    one, near = case.members[rng.integers(len(case.members), size=2)][:, :SIZE]
    box = {}
    for name in BOXED:
        low, high = 1 + rng.exponential(rng.choice([0.05, 0.5, 5]), 2)
        value = one[TOTALS.index(name)]
        box[name] = value / low, value * high
    amounts = {name: case.members[:, TOTALS.index(name)] for name in BOXED}
    inside = np.all([(amounts[n] >= a) & (amounts[n] <= b) for n, (a, b) in box.items()], axis=0)
    assert inside.any()
    estimate = copy.copy(case.source.estimate)
    estimate.mean = estimate.mean * np.exp(rng.normal(0, 0.1, len(estimate.mean)))
    made_up, _ = estimate.log_error(case.members[:, :SIZE])
    for member in np.flatnonzero(inside)[:3]:
        rows = case.units_of(member)[:, :SIZE]
        line = Relaxation(estimate, case.resolution, rows, box, near)
        width = 2 ** case.members[member, TOTALS.index("classifier.log2_width")]
        value = line.constant + line.parts.sum() + line.per_width / width
        assert value <= made_up[member] + 1e-9


@given(seed=st.integers(0, 10**6), confidence=st.sampled_from([0.5, 0.8, 0.95]))
@settings(max_examples=30, deadline=None)
def test_the_plane_lies_below_the_quantile_and_touches_it(case, seed, confidence):
    features = case.members[:, SIZE:]
    rng = np.random.default_rng(seed)
    near = features[rng.integers(len(features))]
    price = case.table.model.price
    made_up = replace(case.table.model, price=price * np.exp(rng.normal(0, 0.5, len(price))))
    plane = LatencyPlane(made_up, confidence, features, near)
    exact = quantile_ms(*made_up.evaluate(features), confidence)
    below = plane.parts + plane.constant
    assert np.all(below <= exact * (1 + 1e-9))
    there = np.all(features == near, axis=1)
    assert below[there] == pytest.approx(exact[there])


def test_a_score_and_its_log_error_are_each_others_inverse():
    estimate = ImagenetEstimate.load().estimate
    assert score_bound(estimate, log_error_of(estimate, 82.0)) == pytest.approx(82.0)
    assert score_bound(estimate, 10.0) == 40.0  # below which scores are bent


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3, 0.6, 0.95])
def test_no_member_scores_more_than_the_bound(case, share):
    budget_ms = float(np.quantile(case.quantile, share))
    fits = case.quantile <= budget_ms
    best = float(case.lower[fits].max())
    ladder = Ladder(case.space, case.resolution, case.source, case.table)
    found = bound([ladder], case.members[0], budget_ms, best, boxes=30)
    assert best <= found["bound"] + 1e-3
    least = case.log_error[fits].min()
    assert found["log_error"] <= least + 1e-9
    if best > 40:  # below, scores are bent, and the search for a bound ends early
        assert found["log_error"] >= least - 0.35


def test_other_tables_are_refused():
    space, table = SearchSpace.load("tiny"), DeviceTable.load("epyc-zen5-1t")
    with pytest.raises(ValueError, match="no fitted table"):
        Ladder(space, 64, ImagenetEstimate.load(), table)


def test_a_heads_features_lie_between_those_of_its_ends():
    source, table = ImagenetEstimate.load(), DeviceTable.load("iphone12")

    def rows(sizes, width, side):
        heads = [components.head("efficientvit", conv_width=c, linear_width=s) for c, s in sizes]
        found = [Unit("head", "efficientvit", width, 1000, (side, side), h.options) for h in heads]
        made = np.hstack([source.units_features(found), table.units_features(found)])
        return np.delete(made, [TOTALS.index("classifier.log2_width"), SIZE + SPILL], axis=1)

    for width, side in ((64, 18), (424, 9), (768, 3)):
        ends = rows([(c, s) for c in (512, 3456) for s in (768, 3840)], width, side)
        for c, s in ((520, 3832), (1704, 800), (3000, 2000)):
            a, b = (c - 512) / (3456 - 512), (s - 768) / (3840 - 768)
            weights = np.array([(1 - a) * (1 - b), (1 - a) * b, a * (1 - b), a * b])
            assert rows([(c, s)], width, side)[0] == pytest.approx(weights @ ends, rel=1e-9)
