from __future__ import annotations

import pytest

from effsearch.refine.journal import Entry
from effsearch.refine.progress import RefineProgress


@pytest.fixture
def lines(monkeypatch):
    monkeypatch.setenv("EFFSEARCH_PROGRESS_SECONDS", "0.000001")
    return []


def test_the_time_left_counts_every_epoch_that_may_come(lines):
    macs = {"a": 10, "b": 20, "c": 10}
    names = {name: f"net {name}" for name in macs}
    progress = RefineProgress(names, macs, 4, {"c": 3}, set(), 2, lines.append)
    assert progress.left_s() is None
    progress(Entry("a", 1, 40.0, 100.0), False)
    # a: 3 epochs at 100 s; b: 4 at 200 s, by its size; c: 1 at 100 s; two at a time.
    assert progress.left_s() == pytest.approx((300 + 800 + 100) / 2)
    assert lines == ["trained 0/3  net a: epoch 1/4, top-1 40.00 %; at most 10 min left"]
    progress(Entry("a", 2, 30.0, 100.0), True)
    assert "stopped by ASHA" in lines[-1]
    assert progress.left_s() == pytest.approx(900 / 2)
    progress(Entry("b", failed="out of memory"), True)
    assert lines[-1] == "net b failed: out of memory; the others go on"
    progress(Entry("c", 4, 50.0, 100.0), True)
    assert lines[-1] == "trained 3/3  net c: epoch 4/4, top-1 50.00 %, done; nothing left"
