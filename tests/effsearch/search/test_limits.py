"""Limits: what DEVICE=MS says, and by how much outcomes exceed them."""

import pytest

from effsearch.search.candidates import LatencyElsewhere, Outcome
from effsearch.search.limits import Limits, OtherDevice
from searchspace import UserError

OUTCOME = Outcome(
    1.0, 0.1, 1.1, 70.0, 1.0, 69.0, 4_000_000, 200_000_000, "", 3_000_000, 16_000_000,
    (LatencyElsewhere("b", 2.0, 0.2, 2.2), LatencyElsewhere("c", 9.0, 0.2, 9.5)),
)  # fmt: skip


def test_excess_is_of_the_limits_that_are_set():
    limits = Limits(2.2, max_memory_mb=6.0, max_size_mb=8.0, also=(("b", 4.4),))
    found = limits.excess(OUTCOME)
    wanted = {"latency": -0.5, "latency on b": -0.5, "memory": -0.5, "size": 1.0}
    assert found == pytest.approx(wanted)


def test_an_outcome_reads_back():
    assert Outcome.from_dict(OUTCOME.to_dict()) == OUTCOME
    plain = Outcome(1.0, 0.1, 1.1)
    assert "elsewhere" not in plain.to_dict()
    assert Outcome.from_dict(plain.to_dict()).elsewhere == ()


@pytest.mark.parametrize(
    ("text", "device", "budget_ms"),
    [
        ("iphone13=2.5", "iphone13", 2.5),
        (" iphone13 = 2 ", "iphone13", 2.0),
        ("a=b/my.json=3e-1", "a=b/my.json", 0.3),
    ],
)
def test_a_device_and_its_budget_are_read(text, device, budget_ms):
    assert OtherDevice.read(text) == OtherDevice(device, budget_ms)


def test_a_table_in_a_file_has_its_name():
    assert OtherDevice("some/where/my.json", 3.0).name == "my"
    assert str(OtherDevice("some/where/my.json", 3.0)) == "my=3"
    assert str(OtherDevice("iphone13")) == "iphone13"


@pytest.mark.parametrize("text", ["", "=", "iphone13", "=2", "iphone13=", "x=y", "x=0", "x=nan"])
def test_what_is_no_device_and_budget_is_told(text):
    with pytest.raises(UserError, match=r"--also: .* is not DEVICE=MS, such as"):
        OtherDevice.read(text)


@pytest.mark.parametrize("budget_ms", [0.0, -1.0, float("inf")])
def test_a_budget_is_positive_in_python_too(budget_ms):
    with pytest.raises(UserError, match="positive"):
        OtherDevice("iphone13", budget_ms)
