"""effsearch: efficient vision backbones for a device and a latency budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from effsearch.search.sampler import SpaceSampler

__all__ = ["SpaceSampler"]


def __getattr__(name: str) -> Any:
    # Imports optuna, which commands that don't search need not wait for.
    if name == "SpaceSampler":
        from effsearch.search.sampler import SpaceSampler

        return SpaceSampler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
