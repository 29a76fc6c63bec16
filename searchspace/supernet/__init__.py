"""One set of weights for every network of a space."""

from searchspace.supernet.model import Supernet

__all__ = ["Supernet"]
