"""The two-thread table says what it was fitted to, and stays close to it."""

from pathlib import Path

import numpy as np
import pytest

from effsearch.latency import DeviceTable
from effsearch.latency.two_threads import NAME, main, read
from searchspace import UserError, zoo

RESULTS = Path(__file__).parents[3] / "results" / "latency"


@pytest.fixture(scope="module")
def measured():
    return read(RESULTS)


def test_the_table_was_fitted_to_what_is_recorded(measured):
    card = DeviceTable.load(NAME).meta
    assert card["kind"] == "fitted"
    assert card["compute_unit"] == "CPU, 2 threads"
    recorded = {r.identity: r.latency_ms for r in measured.rows}
    assert {r["identity"]: r["ms"] for r in card["references"]} == recorded
    assert card["reference_count"] == len(measured.rows) == len(recorded) == 96
    assert {zoo.load(name).digest() for name in zoo.names()} < set(recorded)
    assert "Not covered" in card["note"]


def test_its_prices_give_back_the_measurements(measured):
    table = DeviceTable.load(NAME)
    predicted = [table.predict_operators(r.operators).mean_ms for r in measured.rows]
    errors = np.abs(np.array(predicted) / [r.latency_ms for r in measured.rows] - 1)
    assert np.median(errors) < 0.06
    assert np.quantile(errors, 0.95) < 0.20, "a few were measured while a core was taken away"


def test_missing_measurements_are_named(tmp_path, capsys):
    with pytest.raises(UserError, match="--results"):
        read(tmp_path)
    assert main(["--results", str(tmp_path), "--out", str(tmp_path)]) == 2
    assert "Traceback" not in capsys.readouterr().err
