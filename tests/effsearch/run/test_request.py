from __future__ import annotations

import json
import math

import pytest

from effsearch.accuracy.supernet_options import SupernetOptions
from effsearch.run.request import SearchRequest, _seal, default_trials
from effsearch.search.candidates import Outcome
from effsearch.search.limits import OtherDevice
from searchspace import UserError


@pytest.mark.parametrize(
    ("field", "value", "option"),
    [
        ("budget_ms", 0, "--budget-ms"),
        ("budget_ms", -2, "--budget-ms"),
        ("budget_ms", math.nan, "--budget-ms"),
        ("budget_ms", math.inf, "--budget-ms"),
        ("confidence", 0, "--confidence"),
        ("confidence", 1, "--confidence"),
        ("confidence", math.nan, "--confidence"),
        ("trials", 0, "--trials"),
        ("seed", -1, "--seed"),
        ("winners", 0, "--winners"),
        ("max_params_m", 0, "--max-params"),
        ("max_macs_m", math.nan, "--max-macs"),
        ("max_memory_mb", -1.0, "--max-memory"),
        ("max_size_mb", math.inf, "--max-size"),
        ("also", (OtherDevice("iphone12", 3.0),), "--also: iphone12 is named twice"),
        ("also", (OtherDevice("b", 3.0), OtherDevice("x/b.json", 4.0)), "--also: b is named twice"),
        ("also", (OtherDevice("b", 3.0), OtherDevice("b")), "--watch: b is named already"),
    ],
)
def test_a_value_out_of_range_names_its_option(field, value, option):
    with pytest.raises(UserError, match=option):
        SearchRequest(**{"device": "iphone12", "budget_ms": 2.0, field: value})


def test_it_reads_back_from_its_folder(tmp_path):
    also = OtherDevice("iphone13", 2.0), OtherDevice("pixel6cpu")
    request = SearchRequest("iphone12", 1.5, seed=3, max_size_mb=5.0, also=also)
    request.write(tmp_path, {"device": "abc"})
    assert SearchRequest.read(tmp_path) == (request, {"device": "abc"})


def test_a_run_of_the_version_before_goes_on(tmp_path):
    SearchRequest("iphone12", 1.5, seed=3).write(tmp_path, {"device": "abc"})
    path = tmp_path / "request.json"
    body = json.loads(path.read_text()) | {"format": 3}
    for name in ("also", "max_memory_mb", "max_size_mb"):
        del body[name]
    path.write_text(json.dumps(body | {"seal": _seal(body)}))
    assert SearchRequest.read(tmp_path)[0] == SearchRequest("iphone12", 1.5, seed=3)


def test_options_of_the_score_source_read_back(tmp_path):
    options = SupernetOptions(checkpoint="/a.pt", data="/images", images=12)
    request = SearchRequest("iphone12", 1.5, proxy="supernet", options=options)
    request.write(tmp_path, {})
    assert SearchRequest.read(tmp_path)[0] == request


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1},
        {"budget_ms": "fast"},
        {"seed": None},
        {"trials": 0},
        {"colour": "red"},
        {"options": {"images": 3}},
        {"options": None},
        {"fingerprints": 3},
    ],
)
def test_a_request_of_another_version_is_one_line(changes, tmp_path):
    SearchRequest("iphone12", 1.5).write(tmp_path, {})
    path = tmp_path / "request.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(
        UserError, match=r"request.json: (not a request of this version|was changed since)"
    ):
        SearchRequest.read(tmp_path)


@pytest.mark.parametrize("text", [None, "", "[]", "{}", '{"format": 99}'])
def test_a_folder_that_is_no_run(tmp_path, text):
    if text is not None:
        (tmp_path / "request.json").write_text(text)
    with pytest.raises(UserError, match=r"not a re?"):
        SearchRequest.read(tmp_path)


def test_excess_is_relative_and_only_of_limits_that_are_set():
    outcome = Outcome(quantile_ms=3.0, params=2_000_000, macs=50_000_000)
    assert SearchRequest("d", 2.0).limits.excess(outcome) == {"latency": 0.5}
    found = SearchRequest("d", 4.0, max_params_m=1, max_macs_m=100).limits.excess(outcome)
    assert found == {"latency": -0.25, "params": 1.0, "macs": -0.5}


def test_slow_sources_get_fewer_trials():
    assert default_trials("zero-cost") < default_trials("imagenet")
    assert default_trials("imagenet") < SearchRequest.consider
