"""The published networks that the space spans, as YAML, and their official checkpoints."""

from typing import TYPE_CHECKING, Any

from searchspace.zoo.published import load, names

if TYPE_CHECKING:
    from searchspace.zoo.official import load_official

__all__ = ["load", "load_official", "names"]


def __getattr__(name: str) -> Any:
    if name != "load_official":  # which needs torch
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from searchspace.zoo.official import load_official

    return load_official
