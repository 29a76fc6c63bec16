"""Units: an architecture in order of execution, each part with all that its cost depends on."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from searchspace import SearchSpace, build, zoo
from searchspace.resolution import height_width
from searchspace.schema import CHANNELS_LAST
from searchspace.unit_modules import make_unit
from searchspace.units import units


@pytest.mark.parametrize("name", zoo.names())
def test_units_are_the_modules_of_the_network(name):
    architecture = zoo.load(name)
    placed = units(architecture)
    assert [p.name for p in placed] == [name for name, *_ in build(architecture).steps()]
    assert placed[0].name == "stem"
    assert placed[-1].name == "head"
    assert sum(p.unit.role == "block" for p in placed) == architecture.depth


@pytest.mark.parametrize("seed", range(30))
def test_each_unit_takes_what_the_one_before_gives(seed):
    architecture = SearchSpace.load("mobile").sample(np.random.default_rng(seed))
    placed = units(architecture, num_classes=10)
    assert placed[0].unit.size == height_width(architecture.resolution)
    for p in placed:
        if p.unit.role == "block":
            assert p.unit.size == architecture.sizes[p.stage]
            assert p.unit.width == architecture.stages[p.stage].width
    for before, after in itertools.pairwise(placed):
        assert after.unit.in_width == before.unit.width
        if after.unit.role == "layout":
            assert before.unit.role != "layout"
            assert (after.unit.type == CHANNELS_LAST) != (after.unit.layout == CHANNELS_LAST)
    assert placed[-1].unit.width == 10


def test_layouts_change_only_where_they_have_to():
    roles = [p.unit.role for p in units(zoo.load("efficientmod_s"))]
    assert "layout" not in roles  # channels-last from stem to head
    assert "layout" not in [p.unit.role for p in units(zoo.load("shvit_s1"))]


def test_expansion_patterns_run_over_the_blocks():
    placed = units(zoo.load("efficientmod_s"))
    third = [dict(p.unit.options) for p in placed if p.stage == 2 and p.unit.role == "block"]
    assert [o.get("expansion") for o in third] == [1, 6] * 4 + [4.0] * 4


def test_equal_units_are_one_key():
    architecture = zoo.load("shvit_s1")
    blocks = [p.unit for p in units(architecture) if p.unit.role == "block"]
    assert len(blocks) == 11
    assert len(set(blocks)) == 3
    assert len({p.unit for p in units(architecture, 10)} - {p.unit for p in units(architecture)})


def test_a_unit_builds_its_module():
    for p in units(zoo.load("efficientvit_b0")):
        module = make_unit(p.unit)
        assert sum(w.numel() for w in module.parameters()) > 0
