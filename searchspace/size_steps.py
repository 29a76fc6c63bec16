"""`Size`: the values of a size that are drawn, and where a step from one leads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from searchspace.space import STEP

Integers = NDArray[np.int64]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Size:
    """A size's values that are drawn, and where a step leads.

    Attributes:
        codes: of the values that are drawn, ascending.
        logs: their logarithms.
        middles: half-way between neighbouring logarithms.
        nearest: for each code, the one that is drawn and nearest to it.
        first: for each code, the first position in `codes` that a step reaches.
        last: the last such position.
    """

    codes: Integers
    logs: Array
    middles: Array
    nearest: Integers
    first: Integers
    last: Integers

    @classmethod
    def of(cls, values: Array, ratio: float) -> Size:
        """Return what is drawn of ascending values: such that are at least a factor apart."""
        kept: list[int] = []
        for code, value in enumerate(values):
            if not kept or value >= ratio * values[kept[-1]] or code == len(values) - 1:
                kept.append(code)
        codes = np.array(kept, np.int64)
        drawn, logs = values[codes], np.log(values[codes])
        middles = (logs[1:] + logs[:-1]) / 2
        at = np.searchsorted(codes, np.arange(len(values)))
        # A step reaches a factor of STEP, and the next values where that is none.
        first = np.minimum(np.searchsorted(drawn, values / STEP), np.maximum(at - 1, 0))
        last = np.searchsorted(drawn, values * STEP, side="right") - 1
        last = np.maximum(last, np.minimum(at + 1, len(codes) - 1))
        nearest = codes[np.searchsorted(middles, np.log(values))]
        return cls(codes, logs, middles, nearest, first, last)

    def draw(self, low: Integers, high: Integers, rng: np.random.Generator) -> Integers:
        """Return codes between limits (n,), even in the logarithm of their values."""
        first = np.searchsorted(self.codes, low)
        last = np.searchsorted(self.codes, high, side="right") - 1
        some = last >= first
        first = np.minimum(first, len(self.codes) - 1)
        start, end = self.logs[first], self.logs[np.maximum(last, 0)]
        position = np.searchsorted(self.middles, start + (end - start) * rng.random(len(low)))
        return np.where(some, self.codes[position], low)

    def step(
        self, code: Integers, low: Integers, high: Integers, rng: np.random.Generator
    ) -> Integers:
        """Return other codes (n,), within limits and one step away."""
        first = np.maximum(self.first[code], np.searchsorted(self.codes, low))
        last = np.minimum(self.last[code], np.searchsorted(self.codes, high, side="right") - 1)
        at = np.searchsorted(self.codes, code)
        inside = (at < len(self.codes)) & (at >= first) & (at <= last)
        own = inside & (self.codes[np.minimum(at, len(self.codes) - 1)] == code)
        choices = last - first + 1 - own
        position = first + (rng.random(len(code)) * np.maximum(choices, 1)).astype(np.int64)
        position += own & (position >= at)
        found: Integers = self.codes[np.clip(position, 0, len(self.codes) - 1)]
        # Where nothing that is drawn lies in reach, the nearest value there is.
        beside = np.where(code < high, code + 1, code - 1)
        found[choices <= 0] = beside[choices <= 0]
        return found

    def near(self, code: int, low: int, high: int) -> Integers:
        """Return some codes that a step reaches: powers of two away, and the farthest."""
        reached = self.codes[self.first[code] : self.last[code] + 1]
        reached = reached[(reached >= low) & (reached <= high)]
        away = reached - code
        distance = np.abs(away)
        some = (away == away.min(initial=0)) | (away == away.max(initial=0))
        found: Integers = reached[some | ((distance & (distance - 1)) == 0)]
        return found
