"""What installed packages add to effsearch, by entry point."""

from __future__ import annotations

from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from effsearch.errors import first_line
from searchspace.errors import UserError


@lru_cache
def installed(group: str) -> dict[str, Any]:
    """Return what installed packages registered under an entry point group, by name.

    Raises:
        UserError: where an entry point cannot be imported; names it and its package.
    """
    found = {}
    for entry in entry_points(group=group):
        try:
            found[entry.name] = entry.load()
        except Exception as error:  # another package's import may raise anything
            package = entry.dist.name if entry.dist else "a package"
            raise UserError(
                f"{group}: {entry.name} of {package} cannot be loaded ({first_line(error)}); "
                "update or remove that package"
            ) from None
    return found
