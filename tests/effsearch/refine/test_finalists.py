from __future__ import annotations

import json

import pytest

from effsearch.latency.timing.measure import Measurement
from effsearch.refine.finalists import FILE, choose_finalists
from effsearch.search.measured_here import MeasuredHere
from searchspace import SearchSpace


class Table:
    name, kind, meta = "here", "measured", {"threads": 1}


@pytest.fixture
def here(monkeypatch):
    """A machine on which the budget is 0.5 ms and networks take what `times` says."""
    monkeypatch.setattr(
        "effsearch.search.measured_here.matches_this_machine", lambda meta, runtime: []
    )

    def make(times):
        def measure(architecture, threads):
            ms = times[architecture.digest()]
            return Measurement(ms, 15, threads, 0.01, ms, ms, False)

        return MeasuredHere(Table(), 0.5, lambda line: None, measure)

    return make


def test_a_resumed_run_trains_the_same_though_measurements_differ(here, networks, tmp_path):
    space = SearchSpace.load("tiny")
    digests = [r.candidate.digest for r in networks]
    first = here(dict(zip(digests, (0.4, 0.6, 0.4, 0.4), strict=True)))
    chosen = choose_finalists(space, networks, 3, first, tmp_path)
    assert [r.number for r in chosen] == [0, 2, 3]
    assert first.dropped == 1
    other = here(dict.fromkeys(digests, 9.0))
    assert choose_finalists(space, networks, 3, other, tmp_path) == chosen
    assert other.to_dict() == first.to_dict()
    assert other.found[digests[0]].median_ms == 0.4
    assert other.drift() == first.drift()
    # Another number, or more candidates, is another question.
    again = here(dict.fromkeys(digests, 0.1))
    assert [r.number for r in choose_finalists(space, networks, 2, again, tmp_path)] != []
    assert json.loads((tmp_path / FILE).read_text())["count"] == 2
    few = choose_finalists(space, networks[:1], 2, again, tmp_path)
    assert [r.number for r in few] == [0]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"candidates": 4, "count": 2}'])
def test_a_damaged_choice_is_made_again(here, networks, tmp_path, text):
    (tmp_path / FILE).write_text(text)
    times = {r.candidate.digest: 0.1 for r in networks}
    found = choose_finalists(SearchSpace.load("tiny"), networks, 2, here(times), tmp_path)
    assert len(found) == 2
    assert len(json.loads((tmp_path / FILE).read_text())["digests"]) == 2
