import subprocess
import sys

import pytest

from effsearch.onnx_io.onnx_files import to_onnx
from searchspace import build, zoo


def test_predictions_as_json_have_the_contract_keys(effsearch):
    status, body, _ = effsearch(
        "predict",
        "shvit_s1",
        "efficientvit_b1",
        "--device",
        "iphone12",
        "--budget-ms",
        "2",
        "--json",
    )
    assert status == 0
    assert [p["target"] for p in body["predictions"]] == ["shvit_s1", "efficientvit_b1"]
    for p in body["predictions"]:
        low, high = p["interval_ms"]
        assert low < p["mean_ms"] < high
        assert p["std_ms"] > 0
        assert p["device"] == "iphone12"
        assert 0 <= p["within_budget"] <= 1
        assert sum(part["mean_ms"] for part in p["breakdown"]) == pytest.approx(p["mean_ms"])
    assert body["predictions"][0]["kind"] == "fitted"
    # No LiteMLA network was measured on an iPhone 12.
    assert body["predictions"][1]["kind"] == "transferred"


def test_an_onnx_file_is_priced_like_its_architecture(effsearch, tmp_path):
    path = tmp_path / "b0.onnx"
    path.write_bytes(to_onnx(build(zoo.load("efficientvit_b0"))).SerializeToString())
    _, body, _ = effsearch("predict", "efficientvit_b0", path, "--device", "iphone13", "--json")
    a, b = body["predictions"]
    assert b["mean_ms"] == pytest.approx(a["mean_ms"], rel=0.02)


def test_comparing_devices_says_where_the_ranking_changes(effsearch):
    targets = zoo.names()
    _, body, _ = effsearch("predict", *targets, "--device", "iphone12,iphone14", "--json")
    assert len(body["predictions"]) == 2 * len(targets)
    mean = {(p["target"], p["device"]): p["mean_ms"] for p in body["predictions"]}
    reversed_pairs = {
        (a, b)
        for a in targets
        for b in targets
        if mean[a, "iphone12"] < mean[b, "iphone12"] and mean[a, "iphone14"] > mean[b, "iphone14"]
    }
    assert {(c["faster"], c["slower"]) for c in body["ranking_changes"]} == reversed_pairs


def test_text_names_kind_and_interval(effsearch, tmp_path):
    picture = tmp_path / "waterfall.png"
    status, out, _ = effsearch("predict", "shvit_s1", "--device", "iphone12", "--plot", picture)
    assert status == 0
    assert "fitted" in out
    assert "80 % interval" in out
    assert "stage 3" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_an_unwritable_picture_is_a_mistake_in_the_request(effsearch, tmp_path):
    status, _, err = effsearch(
        "predict", "shvit_s1", "--device", "iphone12", "--plot", tmp_path / "no" / "such" / "a.png"
    )
    assert status == 2
    assert "cannot write" in err


def test_devices_state_kind_and_error(effsearch):
    status, body, _ = effsearch("devices", "--json")
    assert status == 0
    rows = {row["name"]: row for row in body["devices"]}
    assert rows["iphone12"]["kind"] == "fitted"
    assert rows["iphone12"]["held_out_error"] > 0
    assert "iphone12" in effsearch("devices")[1]


def test_devices_are_listed_without_what_only_builds_networks():
    program = """
import sys
from effsearch.cli import main
try:
    main(["devices"])
except SystemExit as end:
    assert end.code == 0
print(sorted({"torch", "scipy", "onnx", "pandas", "optuna", "ray"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr
