"""Measurements of the best candidates on this machine, where the table is this machine's."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from effsearch.latency.table import DeviceTable
from effsearch.latency.timing.machine import matches_this_machine
from effsearch.latency.timing.measure import Measurement, measure_ms
from effsearch.latency.timing.runtimes import runtime_of
from effsearch.search.candidates import Record

MOST = 30  # candidates measured at most: the rest is dropped with the reason
DRIFT = 0.05  # a larger typical difference from the table is worth a word


class MeasuredHere:
    """Accepts a winner where a measurement here says that it meets the budget.

    Args:
        table: of the search.
        budget_ms: most that a winner may take.
        say: takes lines on the progress.
        measure: measures a network; None for the way that suits the table.

    Attributes:
        active: whether the table was measured on this very machine; else all are accepted.
        found: measurements by digest.
        dropped: how many were over the budget.
        notes: what a reader of the run should know.
    """

    def __init__(
        self,
        table: DeviceTable,
        budget_ms: float,
        say: Callable[[str], None],
        measure: Callable[..., Measurement] | None = None,
    ) -> None:
        self.budget_ms = budget_ms
        self.found: dict[str, Measurement] = {}
        self.dropped = 0
        self.notes: list[str] = []
        self._ratios: list[float] = []
        self._say = say
        self.active = False
        if table.kind == "measured":
            differences = matches_this_machine(table.meta, runtime_of(table.meta))
            self.active = not differences
            self._threads = int(table.meta.get("threads", 1))
            if differences:
                self.notes.append(
                    "Winners were not measured: this is not the machine that the table was "
                    f"measured on ({'; '.join(differences)})."
                )
        self._measure = measure or (_measuring(table) if self.active else measure_ms)

    def accept(self, record: Record) -> bool:
        """Measure a candidate and return whether it meets the budget."""
        if not self.active:
            return True
        if len(self.found) >= MOST:
            if len(self.notes) == 0 or not self.notes[-1].startswith("After"):
                self.notes.append(f"After {MOST} measurements no more candidates were tried.")
            return False
        found = self._measure(record.candidate.architecture, self._threads)
        self.found[record.candidate.digest] = found
        self._ratios.append(found.median_ms / record.outcome.mean_ms)
        fits = found.median_ms <= self.budget_ms
        if not fits:
            self.dropped += 1
        self._say(
            f"measured {record.candidate.digest}: {found.median_ms:.3f} ms"
            f"{_at_table_speed(found)}{' (noisy)' if found.noisy else ''}, "
            f"predicted {record.outcome.mean_ms:.3f} ms"
            f"{'' if fits else '; over the budget, dropped'}"
        )
        return fits

    def to_dict(self) -> dict[str, Any]:
        """Return what was measured as plain data, with what was noted on it."""
        found = {digest: asdict(measurement) for digest, measurement in self.found.items()}
        return {
            "found": found,
            "dropped": self.dropped,
            "notes": list(self.notes),
            "ratios": list(self._ratios),
        }

    def restore(self, data: Mapping[str, Any]) -> None:
        """Take over what `to_dict` gave."""
        self.found = {digest: Measurement(**row) for digest, row in data["found"].items()}
        self.dropped, self.notes = int(data["dropped"]), list(data["notes"])
        self._ratios = list(data["ratios"])

    def drift(self) -> str | None:
        """Return a word on measurements that typically differ from the table, if they do."""
        if len(self._ratios) < 3:
            return None
        typical = statistics.median(self._ratios) - 1
        if abs(typical) <= DRIFT:
            return None
        text = (
            f"The {len(self._ratios)} networks measured here took {abs(typical):.0%} "
            f"{'longer' if typical > 0 else 'less'} than the table says (median)"
        )
        speeds = [
            m.median_ms / m.at_table_speed_ms for m in self.found.values() if m.at_table_speed_ms
        ]
        if speeds:
            slower = statistics.median(speeds) - 1
            text += (
                f"; by the references that ran beside them, the machine is {abs(slower):.0%} "
                f"{'slower' if slower > 0 else 'faster'} than when it was profiled."
            )
            if abs((1 + typical) / (1 + slower) - 1) <= DRIFT:
                return text
            return f"{text} What is left is the table's: `effsearch profile` makes a new one."
        return (
            f"{text}: the machine is not as fast as when it was profiled, or the table is off; "
            "`effsearch profile` makes a new one."
        )


def _measuring(table: DeviceTable) -> Callable[..., Measurement]:
    """Return what measures a network, beside the table's references where it names their speed."""
    runtime = runtime_of(table.meta)
    if getattr(table.model, "speed", None) is None:
        return partial(measure_ms, runtime=runtime)
    from effsearch.latency.timing.with_references import TableSpeedTimer

    return TableSpeedTimer(table, runtime)


def _at_table_speed(found: Measurement) -> str:
    ms = found.at_table_speed_ms
    return "" if ms is None else f" ({ms:.3f} ms at the table's speed)"
