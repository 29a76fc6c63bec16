"""What a block type declares: its options, where its class is, and how a supernet shares weights.

Adding a block type here takes one folder in `searchspace/blocks`: its `__init__.py` has the
declaration `BLOCK`, free of torch, and its `module.py` the class. Another package adds one by an
entry point of the group `searchspace.blocks`, whose name is the type's and whose value is a
`BlockType`:

    [project.entry-points."searchspace.blocks"]
    mine = "my_package.blocks:MINE"
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from searchspace.component import ComponentSpec, Options

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Piece:
    """Consecutive indices of a dimension.

    Attributes:
        part: label of the thing that they belong to; parts lie one after the other.
        start: the first index inside that thing.
        size: how many.
    """

    part: str
    start: int
    size: int


Pieces = tuple[Piece, ...]


@dataclass(frozen=True)
class Share:
    """Where a weight comes from.

    Attributes:
        key: name of the shared tensor inside the slot.
        dim: the dimension that `pieces` describes; all others are leading slices, but the sides of
            kernels, which are centre crops.
        pieces: None where every dimension is an ordinary one.
    """

    key: str
    dim: int = 0
    pieces: Pieces | None = None


SharingRule = Callable[[int, Options, str], Share]
"""(width, a block's options, the name of one of its tensors) to where that tensor comes from."""


def leading(width: int, options: Options, key: str) -> Share:
    """The sharing rule of blocks whose tensors are leading slices along every dimension."""
    return Share(key)


@dataclass(frozen=True, kw_only=True)
class BlockType(ComponentSpec):
    """A block type.

    Attributes:
        module: where its class is, `package.module:Class`; imported when a block is first built.
            The class takes `(width, side, **options)` and maps `width` channels to as many in its
            layout, at the same height and width. One module serves maps of all sizes, made with a
            side of 0; else it is the longer one. Where it has a `deploy` method, that returns a
            faster form of equal outputs for inference. It may call the torch functions that
            `searchspace.tracing` has ONNX forms of.
        sharing: which shared tensor of a supernet each of its tensors is a slice of; None where
            no supernet can hold the type.
    """

    module: str
    sharing: SharingRule | None = None

    @cached_property
    def make(self) -> Callable[..., nn.Module]:
        """The class, imported.

        Raises:
            ImportError, AttributeError: where it is not where `module` says.
        """
        found: Callable[..., nn.Module] = pkgutil.resolve_name(self.module)
        return found

    @cached_property
    def patterns(self) -> frozenset[str]:
        """Options whose elements are for one block each, in turn over a run."""
        return frozenset(name for name, option in self.options.items() if option.pattern)
