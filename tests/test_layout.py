"""What holds for the packages as wholes."""

import ast
from pathlib import Path

import pytest

import effsearch
import searchspace

ROOTS = {m.__name__: Path(m.__file__).parent for m in (searchspace, effsearch)}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("path", sorted(ROOTS["searchspace"].rglob("*.py")), ids=lambda p: p.name)
def test_searchspace_knows_nothing_of_effsearch(path):
    assert not [name for name in imported(path) if name.split(".")[0] == "effsearch"]


def test_the_packages_are_typed():
    assert all((root / "py.typed").exists() for root in ROOTS.values())
