"""`effsearch explain`."""

import pytest

from searchspace import SearchSpace, zoo


def test_it_prints_both_lists_and_all_changes_as_json(effsearch, tmp_path):
    space = SearchSpace.load("small")
    architecture = space.nearest(zoo.load("shvit_s1"))
    architecture.to_yaml(tmp_path / "net.yaml")
    options = [tmp_path / "net.yaml", "--device", "iphone12", "--space", "small"]
    status, body, _ = effsearch("explain", *options, "--json")
    assert status == 0
    assert len(body["changes"]) == len(list(space.changes(architecture)))
    status, out, err = effsearch("explain", *options, "--budget-ms", body["quantile_ms"])
    assert status == 0
    assert "Save most latency a point" in out
    assert "over budget" in out
    assert "single changes within small" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["shvit_s1", "--device", "iphone12", "--space", "tiny"], "not in the space tiny"),
        (["shvit_s1", "--device", "nophone"], "nophone"),
        (["shvit_s1", "--device", "iphone12", "--budget-ms", "0"], "--budget-ms"),
        (["shvit_s1", "--device", "iphone12", "--confidence", "1"], "--confidence"),
        (["net.onnx", "--device", "iphone12"], "not an ONNX file"),
    ],
)
def test_bad_requests_are_one_line(effsearch, options, message):
    status, _, err = effsearch("explain", *options)
    assert status == 2
    assert message in err
    assert len(err.strip().splitlines()) == 1
