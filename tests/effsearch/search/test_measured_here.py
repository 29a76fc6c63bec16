"""Winners on a table of this very machine are measured; those over the budget are dropped."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from effsearch.latency.timing.machine import host
from effsearch.latency.timing.measure import Measurement
from effsearch.latency.timing.runtimes import find_runtime
from effsearch.run.request import SearchRequest
from effsearch.search import measured_here as measured
from effsearch.search.candidates import SAMPLED, Candidate, Record
from effsearch.search.measured_here import MeasuredHere
from effsearch.search.winners import choose_winners


def table(kind="measured", **changes):
    return SimpleNamespace(kind=kind, meta={**host(), "threads": 1, **changes})


@pytest.fixture(scope="module")
def records(tiny, evaluator):
    asked = SearchRequest("toy", 0.55)
    rng = np.random.default_rng(0)
    found = {}
    while len(found) < 60:
        candidate = Candidate(tiny.sample(rng), SAMPLED)
        outcome = evaluator.evaluate(candidate.architecture)
        number = len(found)
        found.setdefault(
            candidate.digest, Record(number, 0, candidate, outcome, asked.limits.excess(outcome))
        )
    return list(found.values())


def clock(milliseconds):
    """Stands in for a measurement: gives these times, one after another."""
    times = iter(milliseconds)
    calls = []

    def measure(architecture, threads):
        calls.append(architecture.digest())
        ms = next(times)
        return Measurement(ms, 15, threads, 0.0, ms, ms, False)

    measure.calls = calls
    return measure


def test_what_is_over_the_budget_is_replaced(tiny, records):
    measure = clock([0.5, 0.6, 0.56, 0.5, 0.55, 9.9])
    said = []
    here = MeasuredHere(table(), 0.55, said.append, measure)
    winners = choose_winners(tiny, records, 3, here.accept)
    assert here.active
    assert len(measure.calls) == len(set(measure.calls)) == len(said) == 5
    assert here.dropped == 2
    digests = [r.candidate.digest for r in winners]
    assert len(digests) == 3
    assert all(here.found[d].median_ms <= 0.55 for d in digests)
    assert sum("dropped" in line for line in said) == 2


def test_a_machine_that_drifted_from_its_table_is_said(records):
    for factor, word in ((1.2, "20% longer"), (0.8, "20% less"), (1.02, None)):
        means = [r.outcome.mean_ms for r in records[:3]]
        here = MeasuredHere(table(), 100, lambda text: None, clock([factor * m for m in means]))
        assert here.drift() is None
        for record in records[:3]:
            here.accept(record)
        assert word in here.drift() if word else here.drift() is None


def test_a_slower_machine_is_told_from_a_table_that_is_off(records):
    means = {r.candidate.architecture.digest(): r.outcome.mean_ms for r in records[:3]}
    for at_table_speed, words in ((1.0, "20% slower than when"), (1.15, "What is left")):

        def measure(architecture, threads, factor=at_table_speed):
            ms = means[architecture.digest()]
            return Measurement(1.2 * ms, 15, threads, 0.0, ms, ms, False, factor * ms)

        said = []
        here = MeasuredHere(table(), 100, said.append, measure)
        for record in records[:3]:
            here.accept(record)
        assert words in here.drift()
        assert ("effsearch profile" in here.drift()) is (at_table_speed != 1.0)
        assert all("at the table's speed" in line for line in said)


def test_measuring_ends_where_nothing_fits(tiny, records, monkeypatch):
    monkeypatch.setattr(measured, "MOST", 4)
    measure = clock([1.0] * 100)
    here = MeasuredHere(table(), 0.55, lambda text: None, measure)
    assert choose_winners(tiny, records, 3, here.accept) == []
    assert len(measure.calls) == 4
    assert len(here.notes) == 1


@pytest.mark.parametrize(
    ("its_table", "noted"),
    [
        (table("fitted"), False),
        (table(cpu="Another CPU"), True),
        (table(runtime_version="0.1"), True),
    ],
)
def test_another_device_is_not_measured_here(tiny, records, its_table, noted):
    here = MeasuredHere(its_table, 0.55, lambda text: None, clock([]))
    assert not here.active
    assert len(choose_winners(tiny, records, 3, here.accept)) == 3
    assert bool(here.notes) is noted


@pytest.mark.parametrize(
    ("name", "precision"), [("onnxruntime", "int8"), ("openvino", "float32"), ("openvino", "int8")]
)
def test_winners_are_measured_as_the_table_was(records, monkeypatch, name, precision):
    if name == "openvino":
        pytest.importorskip("openvino", reason="needs the extra openvino")
    used = find_runtime(name, precision)
    seen = []

    def measure(architecture, threads, runtime):
        seen.append(runtime)
        return Measurement(0.5, 15, threads, 0.0, 0.5, 0.5, False)

    monkeypatch.setattr(measured, "measure_ms", measure)
    its_table = SimpleNamespace(kind="measured", meta={**host(used), "threads": 1}, model=None)
    here = MeasuredHere(its_table, 0.55, lambda text: None)
    assert here.accept(records[0])
    assert seen == [used]
