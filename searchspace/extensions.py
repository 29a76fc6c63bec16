"""What installed packages add, by entry point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from searchspace.errors import UserError, first_line

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Things of one type by name: the project's own, then those of installed packages.

    An entry point is looked for when a name is asked for that is none of the project's, and
    imported alone. It never stands in for the project's own of that name.

    Args:
        group: of entry points.
        own: the project's.
        kind: what an entry point has to be an instance of.
    """

    def __init__(self, group: str, own: Mapping[str, T], kind: type[T]) -> None:
        self._group, self._kind = group, kind
        self._own = own
        self._loaded = dict(own)

    def __getitem__(self, name: str) -> T:
        """Return the thing of a name.

        Raises:
            UserError: where it cannot be imported, or is something else.
        """
        found = self._loaded.get(name)
        if found is None:
            found = load(self._outside[name])
            if not isinstance(found, self._kind):
                raise UserError(
                    f"{self._group}: {name} of {_package(self._outside[name])} is "
                    f"{type(found).__name__}, not {self._kind.__name__}"
                )
            self._loaded[name] = found
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._outside

    def __iter__(self) -> Iterator[str]:
        yield from self._own
        yield from self._outside

    def __len__(self) -> int:
        return len(self._own) + len(self._outside)

    @cached_property
    def _outside(self) -> dict[str, EntryPoint]:
        points = sorted(entry_points(group=self._group))
        return {point.name: point for point in points if point.name not in self._own}


@lru_cache
def installed(group: str) -> dict[str, Any]:
    """Return all that installed packages registered under an entry point group, by name.

    Raises:
        UserError: where an entry point cannot be imported; names it and its package.
    """
    return {point.name: load(point) for point in entry_points(group=group)}


def load(point: EntryPoint) -> Any:
    """Return what an entry point stands for.

    Raises:
        UserError: where it cannot be imported; names it and its package.
    """
    try:
        return point.load()
    except Exception as error:  # another package's import may raise anything
        raise UserError(
            f"{point.group}: {point.name} of {_package(point)} cannot be loaded "
            f"({first_line(error)}); update or remove that package"
        ) from None


def _package(point: EntryPoint) -> str:
    return f"the package {point.dist.name}" if point.dist else "a package"
