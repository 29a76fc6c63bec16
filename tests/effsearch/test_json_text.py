import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effsearch.json_text import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_json_is_read_as_it_is(value):
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "9" * 400, "-" + "9" * 400, "9" * 5000, "{", "", b"\xff"],
)
def test_what_is_none_is_a_value_error(text):
    with pytest.raises(ValueError):  # noqa: PT011
        parse_json(text)
