"""Classes that implement the schema's stems, downsamplings and heads, by name.

Heads of several maps have a part for each of them, a lateral, under their own name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from torch import nn

STEMS: dict[str, Callable[..., nn.Module]] = {}
DOWNSAMPLINGS: dict[str, Callable[..., nn.Module]] = {}
HEADS: dict[str, Callable[..., nn.Module]] = {}
LATERALS: dict[str, Callable[..., nn.Module]] = {}

M = TypeVar("M", bound=type[nn.Module])


def register(table: dict[str, Callable[..., nn.Module]], name: str) -> Callable[[M], M]:
    """Return a decorator that enters a module class in one of the tables above."""

    def enter(cls: M) -> M:
        table[name] = cls
        return cls

    return enter
