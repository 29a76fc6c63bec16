"""What holds for the packages as wholes."""

import ast
from graphlib import TopologicalSorter
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


def modules():
    for name, root in ROOTS.items():
        for path in root.rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join((name, *(p for p in parts if p != "__init__"))), path


def dependencies(name, path, known):
    """Modules that a module imports, in functions too, but not for the type checker alone."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from package import module` needs the module; any other name, the package itself.
            found = [
                whole if (whole := f"{node.module}.{alias.name}") in known else node.module
                for alias in node.names
            ]
        else:
            continue
        yield from (target for target in found if target in known and target != name)


def test_no_circle_of_files():
    files = dict(modules())
    graph = {name: set(dependencies(name, path, files)) for name, path in files.items()}
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle
