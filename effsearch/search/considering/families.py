"""`Families`: which encoded networks have blocks of one published family alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from searchspace import SearchSpace
from searchspace.schema import BLOCKS
from searchspace.space_file import NONE
from searchspace.variation import Codes

MIXED = -1


class Families:
    """Tells families of encoded networks of one space.

    Attributes:
        space: the space.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        columns = {name: i for i, name in enumerate(space.axes)}
        numbers = {f: i for i, f in enumerate(dict.fromkeys(s.family for s in BLOCKS.values()))}
        self._stages = columns.get("stages")
        # For each place of blocks: its stage, its column, and the family of each code, -1 for none.
        self._places: list[tuple[int, int | None, NDArray[np.int64]]] = []
        for index, stage in enumerate(space.spec.stages):
            for axis, types in (("block", stage.blocks), ("tail", stage.tails)):
                families = [-1 if t == NONE else numbers[BLOCKS[t].family] for t in types]
                column = columns.get(f"stage{index + 1}.{axis}")
                self._places.append((index, column, np.array([*families, -1])))

    def __call__(self, codes: Codes) -> NDArray[np.int64]:
        """Return the number of each network's family (n,), `MIXED` where there are several."""
        counts = np.asarray(self.space.spec.counts)
        stages = counts[0 if self._stages is None else codes[:, self._stages]]
        low = np.full(len(codes), np.iinfo(np.int64).max)
        high = np.full(len(codes), -1)
        for index, column, families in self._places:
            found = np.broadcast_to(families[0 if column is None else codes[:, column]], len(codes))
            found = np.where(stages > index, found, -1)
            low = np.where(found >= 0, np.minimum(low, found), low)
            high = np.maximum(high, found)
        return np.where(low == high, low, MIXED)
