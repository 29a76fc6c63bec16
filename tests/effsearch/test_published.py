import csv
import os
from pathlib import Path

import pytest

from effsearch.published import dense_results, published
from searchspace import zoo
from searchspace.schema import FAMILIES


def test_every_network_of_the_zoo_has_a_published_accuracy():
    records = published()
    assert set(records) == set(zoo.names())
    for record in records.values():
        assert record.family in FAMILIES
        assert 60 < record.top1 < 90
        assert record.source


def test_dense_results_are_of_the_zoos_networks_as_published():
    results = dense_results()
    segmenters = {r.network for r in results if r.task == "segmentation"}
    assert segmenters == set(zoo.names(task="segmentation"))
    assert {r.network for r in results if r.task == "detection"} <= set(zoo.names())
    folder = os.environ.get("EFFSEARCH_DATA")
    if not folder:
        pytest.skip("EFFSEARCH_DATA is unset")
    with (Path(folder) / "published" / "dense.csv").open() as file:
        rows = list(csv.DictReader(file))
    known = {(r["dataset"], r["head"], r["metric"], float(r["value"]), r["source"]) for r in rows}
    assert {(r.dataset, r.head, r.metric, r.value, r.source) for r in results} <= known
