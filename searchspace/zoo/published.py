"""The architectures of the published networks, read from YAML by name."""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path

from searchspace.architecture import Architecture
from searchspace.errors import UserError
from searchspace.schema import CLASSIFICATION, SEGMENTATION

_FOLDER = Path(__file__).parent
_FOLDERS = {CLASSIFICATION: _FOLDER, SEGMENTATION: _FOLDER / SEGMENTATION}


def names(task: str | None = CLASSIFICATION) -> tuple[str, ...]:
    """Return the names of the published networks for a task; None for all of them.

    Raises:
        UserError: where there is no such task.
    """
    if task is not None and task not in _FOLDERS:
        raise UserError(f"task: {task!r} is unknown; use one of {', '.join(_FOLDERS)}")
    tasks = _FOLDERS if task is None else (task,)
    return tuple(sorted(path.stem for task in tasks for path in _FOLDERS[task].glob("*.yaml")))


@lru_cache(maxsize=64)
def load(name: str) -> Architecture:
    """Return a published network's architecture.

    Raises:
        UserError: where there is none of that name.
    """
    every = names(task=None)
    if name not in every:
        near = difflib.get_close_matches(name, every, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(every)}"
        raise UserError(f"{name}: no published network of that name{hint}")
    folder = next(folder for task, folder in _FOLDERS.items() if name in names(task))
    return Architecture.from_yaml(folder / f"{name}.yaml")
