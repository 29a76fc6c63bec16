"""A run's winners on every shipped device."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from threadpoolctl import threadpool_limits

from effsearch.latency import DeviceTable
from effsearch.latency.catalogue import SHIPPED
from effsearch.search.candidates import Record


def on_other_devices(winners: Sequence[Record], asked: Collection[str]) -> list[dict[str, Any]]:
    """Return the winners' predicted latencies on every shipped device but those of the run.

    Args:
        winners: best first.
        asked: names of the devices that the run asked for.

    Returns:
        A row a device: `device`, and `winners` with `mean_ms`, `interval_ms` (80 %) and `kind`.
    """
    rows = []
    for path in sorted(SHIPPED.glob("*.json")):
        table = DeviceTable.load(path)
        if table.name in asked:
            continue
        with threadpool_limits(1):  # for matrices this small, threads cost more than they give
            found = [table.predict(record.candidate.architecture) for record in winners]
        rows.append(
            {
                "device": table.name,
                "winners": [
                    {"mean_ms": p.mean_ms, "interval_ms": list(p.interval_ms), "kind": p.kind}
                    for p in found
                ],
            }
        )
    return rows
