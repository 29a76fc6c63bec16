"""The architectures of the published networks, read from YAML by name."""

from __future__ import annotations

import difflib
from functools import lru_cache
from pathlib import Path

from searchspace.architecture import Architecture
from searchspace.errors import UserError

_FOLDER = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Return the names of all published networks."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


@lru_cache(maxsize=64)
def load(name: str) -> Architecture:
    """Return a published network's architecture.

    Raises:
        UserError: where there is none of that name.
    """
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; known: {', '.join(names())}"
        raise UserError(f"{name}: no published network of that name{hint}")
    return Architecture.from_yaml(_FOLDER / f"{name}.yaml")
