"""Optuna's dashboard on a run's study: it opens, and knows what is over the limits."""

from __future__ import annotations

import json
from wsgiref.util import setup_testing_defaults

import numpy as np
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from effsearch.search.candidates import SAMPLED, Candidate, Record
from effsearch.search.study import FILE, NAME, StudyStore

optuna_dashboard = pytest.importorskip("optuna_dashboard", reason="needs the extra dashboard")


def ask(application, path, query=""):
    asked = {}
    setup_testing_defaults(asked)
    asked |= {"PATH_INFO": path, "QUERY_STRING": query}
    return json.loads(b"".join(application(asked, lambda status, headers, *more: None)))


def test_it_reads_the_objectives_and_the_limits(tiny, evaluator, tmp_path):
    rng = np.random.default_rng(0)
    records = []
    for number in range(10):
        candidate = Candidate(tiny.sample(rng), SAMPLED)
        outcome = evaluator.evaluate(candidate.architecture)
        records.append(Record(number, 0, candidate, outcome, {"latency": 4.0 - number}))
    store = StudyStore(tmp_path, tiny)
    store.add(records)
    store.close()
    storage = JournalStorage(JournalFileBackend(str(tmp_path / FILE)))
    application = optuna_dashboard.wsgi(storage)
    (study,) = ask(application, "/api/studies")["study_summaries"]
    assert (study["study_name"], study["directions"]) == (NAME, ["maximize", "minimize"])
    found = ask(application, f"/api/studies/{study['study_id']}", "after=0")
    assert found["objective_names"] == ["score lower bound", "latency quantile, ms"]
    # What its front takes as feasible: no constraint above 0, and no trial without constraints.
    assert [t["constraints"] for t in found["trials"]] == [[4.0 - n] for n in range(10)]
