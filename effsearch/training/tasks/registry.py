"""The tasks there are, by name: each module of this folder brings its own."""

from __future__ import annotations

import importlib
import pkgutil

from effsearch.training import tasks
from effsearch.training.tasks.task import Task
from searchspace.errors import UserError


def _found() -> dict[str, Task]:
    for module in pkgutil.iter_modules(tasks.__path__):
        importlib.import_module(f"{tasks.__name__}.{module.name}")
    return {kind.name: kind() for kind in Task.__subclasses__()}


TASKS = _found()


def task_named(name: str) -> Task:
    """Return a task by its name.

    Raises:
        UserError: there is none of that name.
    """
    if name not in TASKS:
        raise UserError(f"--task: {name} is unknown; use one of {', '.join(sorted(TASKS))}")
    return TASKS[name]
