"""Options: what parses, what does not, and that no input makes the schema raise."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import searchspace
from searchspace.schema import (
    BLOCKS,
    DOWNSAMPLINGS,
    HEADS,
    STEMS,
    OptionSpec,
    linear_heads,
    partial_width,
)

OPTIONS = [
    pytest.param(option, id=f"{component}.{name}")
    for table in (BLOCKS, STEMS, DOWNSAMPLINGS, HEADS)
    for component, spec in table.items()
    for name, option in spec.options.items()
]
ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=5),
    st.lists(st.one_of(st.integers(), st.floats(), st.none(), st.text(max_size=2)), max_size=4),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)


@pytest.mark.parametrize("option", OPTIONS)
def test_the_default_is_allowed_and_kept(option):
    assert option.parse(option.default) == option.default
    assert option.describe()


@pytest.mark.parametrize("option", OPTIONS)
@settings(max_examples=60, deadline=None)
@given(value=ANYTHING)
def test_any_value_parses_to_an_allowed_one_or_to_none(option, value):
    parsed = option.parse(value)
    if parsed is None:
        return
    assert option.parse(parsed) == parsed
    if option.kind == "bool":
        assert parsed is value
        return
    for number in parsed if isinstance(parsed, tuple) else (parsed,):
        assert option.low <= number <= option.high
        assert type(number) is (float if option.kind == "float" else int)
        assert not option.odd or number % 2 == 1


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 10**400, True, "4", None, [], {}])
@pytest.mark.parametrize("kind", ["int", "float", "ints"])
def test_what_is_no_number_is_refused(kind, value):
    assert OptionSpec(kind, 1).parse(value) is None


def test_whole_floats_are_integers_and_integers_are_floats():
    assert type(OptionSpec("int", 1).parse(4.0)) is int
    assert type(OptionSpec("float", 1.0).parse(4)) is float
    assert OptionSpec("int", 1).parse(4.5) is None
    assert OptionSpec("ints", (3,), odd=True).parse([3, 5]) == (3, 5)
    assert OptionSpec("ints", (3,), odd=True).parse([3, 4]) is None
    assert OptionSpec("ints", (3,)).parse(7) == (7,)


@given(
    width=st.integers(8, 4096),
    ratio=st.floats(0.01, 1.0),
    heads=st.integers(1, 8),
)
def test_attended_channels_divide_among_heads(width, ratio, heads):
    partial = partial_width(width, ratio, heads)
    assert partial % heads == 0
    assert heads <= partial
    assert abs(partial - width * ratio) <= max(heads, heads / 2 + 1)


def test_shvit_attends_the_published_numbers_of_channels():
    widths = [(224, 0.2143), (320, 0.2125), (308, 0.2143), (448, 0.2143), (352, 0.2131)]
    assert [partial_width(*case) for case in widths] == [48, 68, 66, 96, 75]


@given(heads=st.sampled_from([1, 2, 4]), head_dim=st.sampled_from([8, 16]))
def test_heads_or_head_width_follow_the_width(heads, head_dim):
    assert linear_heads(64, heads, 0) == (heads, 64 // heads)
    assert linear_heads(64, 0, head_dim) == (64 // head_dim, head_dim)
    assert linear_heads(64, heads, head_dim) == (heads, head_dim)
    assert linear_heads(head_dim // 2, 0, head_dim) == (1, head_dim)


def test_schema_and_block_types_need_no_torch():
    """The package's door loads torch; what declares components does not."""
    code = """
import sys, types
sys.modules["torch"] = None
sys.modules["searchspace"] = door = types.ModuleType("searchspace")
door.__path__ = [sys.argv[1]]
from searchspace.schema import BLOCKS
assert len(dict(BLOCKS)) >= 9
"""
    folder = searchspace.__path__[0]
    subprocess.run([sys.executable, "-c", code, folder], check=True, timeout=60)
