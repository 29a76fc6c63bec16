"""Slices of shared tensors: how large those have to be, and views into them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from searchspace.block_type import Pieces, Share

Shape = tuple[int, ...]


@dataclass
class Extent:
    """Size of a shared tensor: the least that holds every slice added.

    Attributes:
        sizes: size of each dimension; of the pieced one, not used.
        parts: sizes of the parts along the pieced dimension.
        dim: the pieced dimension, -1 for none.
    """

    sizes: list[int]
    parts: dict[str, int] = field(default_factory=dict)
    dim: int = -1

    @classmethod
    def of(cls, shape: Shape) -> Extent:
        """Return the extent of nothing yet, for weights of a shape's rank."""
        return cls([0] * len(shape))

    def add(self, share: Share, shape: Shape) -> None:
        """Grow to hold one more weight."""
        assert len(shape) == len(self.sizes), share
        self.sizes = [max(a, b) for a, b in zip(self.sizes, shape, strict=True)]
        if share.pieces is not None:
            self.dim = share.dim
            for piece in share.pieces:
                end = piece.start + piece.size
                self.parts[piece.part] = max(end, self.parts.get(piece.part, 0))

    @property
    def shape(self) -> Shape:
        """The shared tensor's shape."""
        sizes = list(self.sizes)
        if self.dim >= 0:
            sizes[self.dim] = sum(self.parts.values())
        return tuple(sizes)

    def slice(self, share: Share, shape: Shape) -> Slice | None:
        """Return where a weight lies, or None where it does not fit."""
        starts, index = [0] * len(shape), None
        if len(shape) == 4:
            for side in (2, 3):
                starts[side] = (self.sizes[side] - shape[side]) // 2
        whole = self.shape
        if share.pieces is not None:
            index = self._index(share.pieces)
            if index is None:
                return None
            first = int(index[0])
            if torch.equal(index, torch.arange(first, first + len(index))):
                starts[share.dim], index = first, None
        for dim, (start, size) in enumerate(zip(starts, shape, strict=True)):
            free = index is None or dim != share.dim
            if free and (start < 0 or start + size > whole[dim]):
                return None
        return Slice(tuple(starts), shape, share.dim, index)

    def _index(self, pieces: Pieces) -> Tensor | None:
        offsets, total = {}, 0
        # Sorted, so that the order does not depend on which slice came first.
        for part in sorted(self.parts):
            offsets[part] = total
            total += self.parts[part]
        chunks = []
        for piece in pieces:
            if piece.start + piece.size > self.parts.get(piece.part, 0):
                return None
            start = offsets[piece.part] + piece.start
            chunks.append(torch.arange(start, start + piece.size))
        return torch.cat(chunks)


@dataclass(frozen=True, eq=False)
class Slice:
    """A weight inside a shared tensor.

    Attributes:
        starts: first index along each dimension.
        shape: the weight's shape.
        dim: the dimension that `index` is for.
        index: indices along `dim` where they are not consecutive, else None.
    """

    starts: Shape
    shape: Shape
    dim: int = 0
    index: Tensor | None = None

    def on(self, device: torch.device) -> Slice:
        """Return the same with its index on a device."""
        return self if self.index is None else replace(self, index=self.index.to(device))

    def window(self, shared: Tensor) -> Tensor:
        """Return the view that holds the weight; with an index, all of `dim`."""
        size, stride, offset = [], shared.stride(), shared.storage_offset()
        for dim, (start, length) in enumerate(zip(self.starts, self.shape, strict=True)):
            if self.index is not None and dim == self.dim:
                size.append(shared.shape[dim])
            else:
                size.append(length)
                offset += start * stride[dim]
        return shared.as_strided(size, stride, offset)

    def read(self, shared: Tensor) -> Tensor:
        """Return the weight, a view where that is possible."""
        window = self.window(shared)
        if self.index is None:
            return window
        return window.index_select(self.dim, self.index.to(shared.device))

    def write(self, shared: Tensor, value: Tensor) -> None:
        """Overwrite the weight."""
        window = self.window(shared)
        if self.index is None:
            window.copy_(value)
        else:
            window.index_copy_(self.dim, self.index.to(shared.device), value)

    def mark(self, shape: Shape) -> Tensor:
        """Return which elements of a shared tensor of a shape belong to the weight."""
        marks = torch.zeros(shape, dtype=torch.bool)
        self.write(marks, torch.ones(self.shape, dtype=torch.bool))
        return marks
