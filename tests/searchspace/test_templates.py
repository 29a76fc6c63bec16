"""Operators without tracing: equal to a trace's, for members of every shipped space."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from searchspace import SearchSpace
from searchspace.operators import clear_caches, traced_operators, unit_operators
from searchspace.space import space_names
from searchspace.templates import TRACED, Templates, prepare
from searchspace.units import Unit, units


def some_units(name, networks, seed=0):
    space, rng = SearchSpace.load(name), np.random.default_rng(seed)
    drawn = [space.sample(rng) for _ in range(networks)]
    return list(dict.fromkeys(p.unit for network in drawn for p in units(network)))


@pytest.mark.parametrize("form", ["deploy", "train"])
@pytest.mark.parametrize("name", space_names())
def test_operators_are_those_of_a_trace(name, form):
    asked = some_units(name, 60)
    found = Templates(form).operators(asked)
    without = sum(operators is None for operators in found)
    assert without < 0.4 * len(asked) or name == "tiny"
    pairs = [(u, ops) for u, ops in zip(asked, found, strict=True) if ops is not None]
    for unit, operators in pairs[:: max(1, len(pairs) // 60)]:
        assert operators == traced_operators(unit, form), unit


def test_a_few_units_are_left_to_be_traced():
    asked = some_units("tiny", 1)[: TRACED - 1]
    assert Templates("deploy").operators(asked) == [None] * len(asked)


def test_widths_off_the_lattice_are_left_to_be_traced():
    unit = Unit("block", "shvit_conv", 100, 100, 14, (("expansion", 2.0), ("kernel", 3)))
    asked = [replace(unit, width=w, in_width=w) for w in range(100, 220, 4)]
    found = Templates("deploy").operators(asked)
    assert [operators is None for operators in found] == [w.width % 8 != 0 for w in asked]


def test_an_option_that_rounds_is_traced():
    """Expansions of 1.3 give hidden widths that no affine function gives."""
    options = (("expansion", 1.3), ("ffn_expansion", 1.7))
    unit = Unit("downsample", "patch_merging", 8, 8, 14, options)
    asked = [replace(unit, width=w, in_width=w) for w in range(8, 400, 8)]
    for unit, operators in zip(asked, Templates("deploy").operators(asked), strict=True):
        assert operators is None or operators == traced_operators(unit, "deploy")


def test_prepared_units_are_not_traced(monkeypatch):
    clear_caches()
    asked = some_units("mobile", 30)
    prepare(asked)
    ready = [u for u, ops in zip(asked, Templates("deploy").operators(asked), strict=True) if ops]
    assert len(ready) > 100
    with monkeypatch.context() as patched:
        # `searchspace.operators` is the function of that name, too.
        patched.setattr(sys.modules[unit_operators.__module__], "traced_operators", None)
        assert all(unit_operators(unit) for unit in ready)
    clear_caches()
