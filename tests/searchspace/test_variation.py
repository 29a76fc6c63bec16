"""Populations of codes: members all, canonical, varied as asked, the same for one seed."""

import numpy as np
import pytest

from searchspace import SearchSpace
from searchspace.space import space_names
from searchspace.variation import Variation

CASES = [(name, ratio) for name in space_names() for ratio in (1.0, 1.4)]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def variation(request):
    name, ratio = request.param
    return Variation(SearchSpace.load(name), ratio)


def assert_members(space, codes):
    networks = [space.decode(row) for row in codes]
    assert all(network in space for network in networks)
    assert np.array_equal(space.encode(networks), codes)


def test_all_that_is_made_is_a_member_in_canonical_codes(variation):
    rng = np.random.default_rng(0)
    sampled = variation.sample(60, rng)
    assert_members(variation.space, sampled)
    mutated = variation.mutate(sampled, rng.integers(1, 6, len(sampled)), rng)
    assert_members(variation.space, mutated)
    assert_members(variation.space, variation.crossover(sampled, mutated[::-1], rng))
    assert_members(variation.space, variation.rounded(sampled, rng))
    around = variation.neighbours(sampled[0], rng)
    assert_members(variation.space, around[:60])
    pairs = variation.merged(sampled[0], around[:30], around[-30:], rng)
    assert_members(variation.space, pairs)


def test_one_change_changes_one_axis_and_what_that_opens_or_moves(variation):
    rng = np.random.default_rng(1)
    space = variation.space
    codes = variation.sample(400, rng)
    changed = variation.mutate(codes, np.ones(len(codes), int), rng)
    # A tail of the blocks' own type is no tail, so that choosing it changes nothing.
    assert (changed == codes).all(1).mean() < 0.03
    active = (codes >= 0) & (changed >= 0)
    moved = active & (codes != changed)
    widths = np.array([name.endswith(".width") for name in space.axes])
    assert (moved[:, ~widths].sum(1) <= 1).mean() > 0.98  # a stem's stride moves widths


def test_sizes_go_by_steps(variation):
    rng = np.random.default_rng(2)
    space = variation.space
    codes = variation.sample(300, rng)
    changed = variation.mutate(codes, np.ones(len(codes), int), rng)
    other = codes != changed
    alone = other.sum(1) == 1
    for axis, (name, values) in enumerate(space.axes.items()):
        if name not in space.sizes:
            continue
        rows = alone & other[:, axis] & (codes[:, axis] >= 0) & (changed[:, axis] >= 0)
        values = np.array(values, float)
        before, after = values[codes[rows, axis]], values[changed[rows, axis]]
        factor = np.maximum(before, after) / np.minimum(before, after)
        beside = np.abs(codes[rows, axis] - changed[rows, axis]) <= 2
        assert ((factor <= 1.5 * variation.ratio**2) | beside | (before < 4)).all(), name


def test_children_take_every_axis_from_a_parent():
    space = SearchSpace.load("tiny")
    variation, rng = Variation(space), np.random.default_rng(3)
    first, second = variation.sample(200, rng), variation.sample(200, rng)
    child = variation.crossover(first, second, rng)
    given = (child == first) | (child == second) | (child < 0)
    opened = (first < 0) & (second < 0) & (child >= 0)
    assert (given | opened | (first < 0) | (second < 0)).mean() > 0.97


def test_the_same_seed_gives_the_same(variation):
    def made():
        rng = np.random.default_rng(7)
        codes = variation.sample(50, rng)
        return variation.mutate(variation.crossover(codes, codes[::-1], rng), np.full(50, 2), rng)

    assert np.array_equal(made(), made())


def test_all_of_a_small_space_is_drawn_and_hashes_tell_apart():
    space = SearchSpace.load("tiny")
    variation = Variation(space)
    codes = variation.sample(20_000, np.random.default_rng(0))
    distinct = np.unique(codes, axis=0)
    assert len(distinct) == space.size()
    assert len(np.unique(variation.hashes(distinct))) == len(distinct)
    assert len(np.unique(variation.hashes(codes))) == len(distinct)


def test_sizes_are_drawn_as_the_space_draws_them():
    """Even in the logarithm: medians of widths agree with one by one sampling."""
    space = SearchSpace.load("mobile")
    rng = np.random.default_rng(5)
    many = Variation(space).sample(4000, rng)
    few = space.encode([space.sample(rng) for _ in range(600)])
    for name in ("stage1.width", "stage3.width", "stage3.depth"):
        axis = list(space.axes).index(name)
        values = np.array(space.axes[name], float)
        medians = [np.median(values[codes[codes[:, axis] >= 0, axis]]) for codes in (many, few)]
        assert medians[0] == pytest.approx(medians[1], rel=0.12)


def test_neighbours_differ_and_hold_every_other_type(variation):
    rng = np.random.default_rng(6)
    code = variation.sample(1, rng)[0]
    around = variation.neighbours(code, rng)
    space = variation.space
    axis = list(space.axes).index("stage1.block") if "stage1.block" in space.axes else None
    if axis is not None:
        assert set(around[:, axis]) == set(range(len(space.axes["stage1.block"])))
    assert (around != code).any(1).mean() > 0.9
