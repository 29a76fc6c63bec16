"""The quantisation experiment: what it compares, and what its page says."""

import numpy as np
import pytest

from effsearch.cli import main as effsearch
from effsearch.export.int8 import behind_quotients
from effsearch.onnx_io.onnx_files import to_onnx
from results.quantisation import sensitivity
from results.quantisation.sensitivity import changes, main, page, ways
from searchspace import build, zoo
from tests.fixtures.training import TINY, write_tree


def test_one_kind_at_a_time_and_only_kinds_that_there_are():
    model = to_onnx(build(zoo.load("efficientvit_b0")))
    found = ways(model)
    present = {node.op_type for node in model.graph.node}
    assert {"divisions alone", "reductions alone"} <= found.keys()
    assert "softmax alone" not in found
    assert all(set(way.ops) <= present for way in found.values())
    assert found["convolutions alone"].ops == {"Conv"}
    assert "products alone, but those behind quotients" in found
    assert "products alone, but those behind quotients" not in ways(
        to_onnx(build(zoo.load("shvit_s1")))
    )


def test_what_is_kept_is_not_counted_as_quantised():
    model = to_onnx(build(zoo.load("efficientvit_b0")), side=64)
    found = ways(model)
    spared = found["products alone, but those behind quotients"].operators(model)
    assert spared == found["products alone"].operators(model) - len(behind_quotients(model)) == 4


def test_changes_come_with_the_error_of_paired_answers():
    labels = np.zeros(100, np.int64)
    before = np.array([0] * 60 + [1] * 40)
    after = before.copy()
    after[:4] = 2
    after[60:61] = 0
    found = changes(after, before, labels)
    assert (found["images"], found["top1"], found["change"]) == (100, 57.0, -3.0)
    assert found["standard_error"] == pytest.approx(100 * np.sqrt((0.05 - 0.03**2) / 100), abs=0.01)
    assert found["same_answer"] == 95.0


def test_from_checkpoints_to_a_page(tmp_path, monkeypatch):
    monkeypatch.setenv("EFFSEARCH_CACHE", str(tmp_path / "cache"))
    data = write_tree(tmp_path / "images", side=64)
    (tmp_path / "tiny.yaml").write_text(TINY.format(width=16))
    how = ["--recipe", "evidence-cpu", "--epochs", "1", "--batch-size", "8", "--data", str(data)]
    folder = tmp_path / "networks" / "tiny"
    with pytest.raises(SystemExit) as exit_:
        effsearch(["train", str(tmp_path / "tiny.yaml"), *how, "--out", str(folder)])
    assert exit_.value.code == 0
    monkeypatch.setattr(sensitivity, "BATCH", 8)
    out = tmp_path / "out"
    given = ["--networks", str(tmp_path / "networks"), "--data", str(data), "--out", str(out)]
    assert main([*given, "--cases", "tiny", "tiny@96"]) == 0
    said = (out / "sensitivity.md").read_text()
    assert "| quantised | tiny | tiny at 96 px |" in said
    assert "24 validation images" in said
    assert "| softmax alone |" in said
    assert main(["--networks", str(out), "--data", str(data)]) == 2
    assert main([*given, "--cases", "tiny@wide"]) == 2


def test_the_page_has_a_line_for_each_way():
    rows = [
        {
            "network": n,
            "quantised": w,
            "images": 9,
            "top1": 50.0,
            "change": c,
            "standard_error": 0.1,
        }
        for n, w, c in (("a", "float32", 0.0), ("a", "all", -1.0), ("b", "float32", 0.0))
    ]
    lines = page(rows, "x").splitlines()
    assert "| float32 | 50.0 % | 50.0 % |" in lines
    assert "| all | -1.0 ± 0.1 |  |" in lines
