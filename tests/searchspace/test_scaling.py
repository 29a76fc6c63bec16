"""Published networks scaled by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace import SearchSpace, build, zoo
from searchspace.scaling import DEPTHS, WIDTHS, head_width, scaled, scaled_families

NAMES = st.sampled_from(zoo.names())
FACTORS = st.floats(0.5, 2)


def parameter_count(architecture):
    with torch.device("meta"):
        return sum(p.numel() for p in build(architecture).parameters())


@pytest.fixture(scope="module")
def families():
    return list(scaled_families())


@pytest.mark.parametrize("name", zoo.names())
def test_factors_of_1_give_the_published_network(name):
    assert scaled(zoo.load(name), 1, 1) == zoo.load(name)


@settings(max_examples=60, deadline=None)
@given(name=NAMES, factors=st.tuples(FACTORS, FACTORS, FACTORS, FACTORS))
def test_parameters_grow_with_width_and_depth(name, factors):
    network = zoo.load(name)
    widths, depths = sorted(factors[:2]), sorted(factors[2:])
    counts = [
        parameter_count(scaled(network, width, depth))
        for width, depth in zip(widths, depths, strict=True)
    ]
    assert counts[0] <= counts[1]


@settings(max_examples=60, deadline=None)
@given(name=NAMES, width=FACTORS, depth=FACTORS)
def test_what_is_scaled_and_what_stays(name, width, depth):
    before = zoo.load(name)
    after = scaled(before, width, depth)
    assert after.resolution == before.resolution
    assert after.stem.type == before.stem.type
    assert after.head.type == before.head.type
    for old, new in zip(before.stages, after.stages, strict=True):
        assert new.downsample == old.downsample
        if width != 1:
            assert new.width % 8 == 0
            assert abs(new.width - width * old.width) <= 4
        for run, other in zip(old.blocks, new.blocks, strict=True):
            assert (other.type, other.options) == (run.type, run.options)
            assert other.depth >= 1
            assert abs(other.depth - depth * run.depth) <= 0.5


def test_a_head_follows_its_family():
    """Scaled to another member's last width, EfficientViT has that member's head."""
    pairs = (("efficientvit_b0", "efficientvit_b1"), ("efficientvit_b1", "efficientvit_b2"))
    for smaller, larger in (*pairs, *(pair[::-1] for pair in pairs)):
        first, second = zoo.load(smaller), zoo.load(larger)
        factor = second.stages[-1].width / first.stages[-1].width
        assert scaled(first, factor, 1).head == second.head
    assert head_width("conv_width", 192) == 1280  # halfway from B0 to B1
    assert head_width("conv_width", 700) == 2304
    values = [head_width("linear_width", width) for width in range(64, 800, 8)]
    assert values == sorted(values)


def test_every_family_at_every_factor_once(families):
    assert families[:16] == [zoo.load(name) for name in zoo.names()]
    assert len({a.digest() for a in families}) == len(families)
    assert len(families) > 1000
    known = {a.digest() for a in families}
    for name, width, depth in itertools.product(zoo.names(), WIDTHS, DEPTHS):
        assert scaled(zoo.load(name), width, depth).digest() in known
    assert {a.name.split()[0] for a in families} == set(zoo.names())
    assert len({a.name for a in families}) == len(families)
    assert all(a.name for a in families)
    example = next(a for a in families if a.name == "shvit_s2 x width 0.9, depth 1.2")
    assert example == scaled(zoo.load("shvit_s2"), 0.9, 1.2)


def test_every_one_is_in_the_default_space(families):
    space = SearchSpace.load("mobile")
    assert [a.name for a in families if a not in space] == []


def test_every_one_can_be_built(families):
    for index in np.random.default_rng(0).choice(len(families), 12, replace=False):
        with torch.device("meta"):
            network = build(families[index])
            shape = network(torch.empty(2, 3, *[families[index].resolution] * 2)).shape
        assert shape == (2, 1000)
