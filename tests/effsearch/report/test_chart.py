from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from effsearch.report.chart import Axis, Chart

positive = st.floats(1e-3, 1e6)


@given(st.lists(positive, min_size=2, max_size=6, unique=True), st.booleans())
def test_places_keep_the_order_from_end_to_end(values, log):
    low, *between, high = sorted(values)
    if high < low * (1 + 1e-6):
        return
    axis = Axis("x", low, high, log)
    places = [axis.place(value) for value in (low, *between, high)]
    assert places == sorted(places)
    assert (places[0], places[-1]) == (0, 100)


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        (Axis("", 0.9, 3.2, log=True), ["1", "1.5", "2", "3"]),
        (Axis("", 60.0, 85.0), ["60", "65", "70", "75", "80", "85"]),
        (Axis("", 0.0, 1e6), ["0", "200k", "400k", "600k", "800k", "1M"]),
    ],
)
def test_ticks_are_round_numbers_within(axis, texts):
    assert [text for _, text in axis.ticks()] == texts
    assert all(0 <= place <= 100 for place, _ in axis.ticks())


def test_an_axis_around_one_value_or_none_has_a_length():
    assert Axis.around("", [3.0]).high > 3.0
    assert Axis.around("", []).high > Axis.around("", []).low


def test_a_front_holds_its_height_until_the_next_point():
    chart = Chart(Axis("", 0, 10), Axis("", 0, 100))
    assert chart.line([(0, 0), (5, 50), (10, 100)]) == "0,100 50,50 100,0"
    assert chart.line([(0, 0), (5, 50)], steps=True) == "0,100 50,100 50,50"
    assert chart.holds(10, 0)
    assert not chart.holds(10.1, 0)
