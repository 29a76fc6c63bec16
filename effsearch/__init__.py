"""effsearch: efficient vision backbones for a device and a latency budget."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from effsearch.api import (
        Found,
        Latency,
        Result,
        Winner,
        devices,
        find,
        load,
        measure,
        predict,
        score,
    )
    from effsearch.search.sampler import SpaceSampler

    __version__: str

__all__ = [
    "Found", "Latency", "Result", "SpaceSampler", "Winner", "__version__", "devices", "find",
    "load", "measure", "predict", "score",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    # Imported when asked for: commands that don't search need not wait for optuna or torch.
    if name == "__version__":
        return importlib.import_module("effsearch.version").installed_version()
    if name == "SpaceSampler":
        return importlib.import_module("effsearch.search.sampler").SpaceSampler
    if name in __all__:
        return getattr(importlib.import_module("effsearch.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
