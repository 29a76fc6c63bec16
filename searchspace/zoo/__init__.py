"""The published networks that the space spans, as YAML, and their official checkpoints."""

from searchspace.zoo.official import load_official
from searchspace.zoo.published import load, names

__all__ = ["load", "load_official", "names"]
