"""searchspace: which networks can be built, and what they are made of.

What builds networks is imported when it is first asked for: torch takes a second.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from searchspace import zoo
from searchspace.architecture import Architecture, Block, Downsample, Head, Stage, Stem
from searchspace.errors import UserError
from searchspace.operators import Operator, operators
from searchspace.space import SearchSpace

if TYPE_CHECKING:
    from searchspace.network import Backbone, Network, build, deploy
    from searchspace.supernet import Supernet

__all__ = [
    "Architecture",
    "Backbone",
    "Block",
    "Downsample",
    "Head",
    "Network",
    "Operator",
    "SearchSpace",
    "Stage",
    "Stem",
    "Supernet",
    "UserError",
    "build",
    "deploy",
    "operators",
    "zoo",
]

_BUILD = {
    "Backbone": "network",
    "Network": "network",
    "build": "network",
    "deploy": "network",
    "Supernet": "supernet",
}


def __getattr__(name: str) -> Any:
    if name not in _BUILD:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_BUILD[name]}"), name)
