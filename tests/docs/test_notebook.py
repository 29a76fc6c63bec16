"""The notebook's code, cell by cell, as a person runs it."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "docs" / "from_budget_to_deployment.ipynb"
EPOCHS = "epochs=30", "epochs=8"  # a minute of training, and what the test waits for


def cells():
    found = json.loads(NOTEBOOK.read_text())
    assert found["nbformat"] == 4
    return [cell for cell in found["cells"] if cell["cell_type"] == "code"]


def run(source, names):
    """Execute a cell, and return what its last line shows."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return (
        None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), names)
    )


def test_it_holds_no_outputs():
    assert not any(cell["outputs"] or cell["execution_count"] for cell in cells())


@pytest.mark.slow
def test_it_runs_from_the_first_cell_to_the_last(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EFFSEARCH_CACHE", str(tmp_path / "cache"))
    names = {}
    shown = []
    for cell in cells():
        source = "".join(cell["source"])
        shown.append(run(source.replace(*EPOCHS), names))
    trained, right = names["trained"], names["right"]
    assert EPOCHS[0] in "".join("".join(cell["source"]) for cell in cells())
    assert trained.top1 > 45  # chance is 33.3
    # ONNX Runtime, fed by the notebook's own lines, classifies as the training's evaluation did.
    assert right / 90 == pytest.approx(trained.top1 / 100, abs=0.02)
    assert shown[-1].median_ms > 0
    assert "within 1 ms with a probability of" in capsys.readouterr().out
