"""Operators without tracing: equal to a trace's, for members of every shipped space."""

import sys
from dataclasses import replace

import numpy as np
import pytest

from searchspace import SearchSpace
from searchspace.architecture import block
from searchspace.operators import clear_caches, traced_operators, unit_operators
from searchspace.schema import BLOCKS
from searchspace.space import space_names
from searchspace.templates import FEW, _Templates, alike, prepare, unit_counts
from searchspace.units import Unit, block_unit, units


def some_units(name, networks, seed=0):
    space, rng = SearchSpace.load(name), np.random.default_rng(seed)
    drawn = [space.sample(rng) for _ in range(networks)]
    return tuple(dict.fromkeys(p.unit for network in drawn for p in units(network)))


@pytest.fixture(autouse=True)
def nothing_is_known():
    clear_caches()
    alike.cache_clear()
    yield
    clear_caches()


def prepared(asked, form):
    """Operators of those units that need no trace."""
    untraced = {}
    with pytest.MonkeyPatch.context() as patched:
        # `searchspace.operators` is the function of that name, too.
        module = sys.modules[unit_operators.__module__]
        patched.setattr(module, "traced_operators", lambda unit, form: None)
        prepare(asked, form)
        for unit in asked:
            operators = unit_operators(unit, form)
            if operators is not None:
                untraced[unit] = operators
    return untraced


@pytest.mark.parametrize("form", ["deploy", "train"])
@pytest.mark.parametrize("name", space_names())
def test_operators_are_those_of_a_trace(name, form):
    asked = some_units(name, 60)
    found = prepared(asked, form)
    assert len(found) > 0.6 * len(asked) or name == "tiny"
    pairs = list(found.items())
    kinds = {unit.type: (unit, operators) for unit, operators in pairs}
    for unit, operators in (*pairs[:: max(1, len(pairs) // 40)], *kinds.values()):
        assert operators == traced_operators(unit, form), unit


@pytest.mark.parametrize("type_", BLOCKS)
def test_random_blocks_of_every_type_are_those_of_a_trace(type_):
    rng = np.random.default_rng(1)
    asked = [
        block_unit(block(type_, 4), int(width) * 8, (int(height), int(across)), int(repeat))
        for width, height, across, repeat in rng.integers((4, 1, 1, 0), (80, 70, 70, 4), (60, 4))
    ]
    found = prepared(asked, "deploy")
    assert found
    for unit in list(found)[:5]:
        assert found[unit] == traced_operators(unit, "deploy"), unit


@pytest.mark.parametrize("form", ["deploy", "train"])
def test_groups_hold_every_unit_once_with_its_numbers(form):
    asked = some_units("mobile", 30)
    groups = alike(asked, form)
    rows = np.concatenate([group.rows for group in groups])
    assert sorted(rows) == list(range(len(asked)))
    for group in groups:
        for row, index in list(enumerate(group.rows))[:3]:
            for many, one in zip(group.operators, unit_operators(asked[index], form), strict=True):
                for field in ("macs", "params", "input_bytes", "weight_bytes", "kernel"):
                    values = np.broadcast_to(getattr(many, field), len(group.rows))
                    assert values[row] == getattr(one, field)


def test_counts_are_sums_over_operators():
    asked = some_units("small", 10)
    for unit, (params, macs) in zip(asked, unit_counts(asked), strict=True):
        operators = unit_operators(unit, "train")
        assert params == sum(o.params for o in operators)
        assert macs == sum(o.macs for o in operators)


def test_a_few_units_of_a_kind_not_met_before_are_traced(monkeypatch):
    monkeypatch.setattr("searchspace.templates._make", None)  # nothing calls it
    monkeypatch.setattr("searchspace.templates._templates", {"deploy": _Templates("deploy")})
    asked = some_units("tiny", 1)[: FEW - 1]
    assert all(len(group.rows) == 1 for group in alike(asked))


def test_widths_off_the_lattice_are_left_to_be_traced():
    unit = Unit("block", "shvit_conv", 100, 100, (14, 14), (("expansion", 2.0), ("kernel", 3)))
    asked = [replace(unit, width=w, in_width=w) for w in range(100, 220, 4)]
    assert set(prepared(asked, "deploy")) == {unit for unit in asked if unit.width % 8 == 0}


def test_an_option_that_rounds_is_traced():
    """Expansions of 1.3 give hidden widths that no affine function gives."""
    options = (("expansion", 1.3), ("ffn_expansion", 1.7))
    unit = Unit("downsample", "patch_merging", 8, 8, (14, 14), options)
    asked = [replace(unit, width=w, in_width=w) for w in range(8, 400, 8)]
    for unit, operators in prepared(asked, "deploy").items():
        assert operators == traced_operators(unit, "deploy")
