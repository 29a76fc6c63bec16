from __future__ import annotations

import pytest

from effsearch.latency import DeviceTable
from effsearch.latency.catalogue import SHIPPED
from effsearch.run.other_devices import on_other_devices


def test_every_shipped_device_but_those_of_the_run_predicts_every_winner(networks):
    winners = networks[:2]
    rows = on_other_devices(winners, ["iphone12", "iphone13"])
    shipped = {path.stem for path in SHIPPED.glob("*.json")}
    assert {row["device"] for row in rows} == shipped - {"iphone12", "iphone13"}
    for row in rows:
        table = DeviceTable.load(row["device"])
        for record, found in zip(winners, row["winners"], strict=True):
            prediction = table.predict(record.candidate.architecture)
            assert found["mean_ms"] == pytest.approx(prediction.mean_ms)
            assert found["kind"] == prediction.kind
            low, high = found["interval_ms"]
            assert low < found["mean_ms"] < high
