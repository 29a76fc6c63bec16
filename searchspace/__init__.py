"""searchspace: which networks can be built, and what they are made of."""

from searchspace import zoo
from searchspace.architecture import Architecture, Block, Downsample, Head, Stage, Stem
from searchspace.errors import UserError
from searchspace.network import Backbone, Network, build, deploy
from searchspace.operators import Operator, operators
from searchspace.space import SearchSpace
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
