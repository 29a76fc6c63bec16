"""`Fit`: affine functions of widths, times a side or an area, that give dimensions of graphs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Dimension:
    """`sides[side] * (coefficients @ (1, *widths)) / divisor`, an integer for every unit."""

    side: int
    coefficients: Integers
    divisor: int

    def __call__(self, widths: Integers, sides: Integers) -> Integers:
        """Return it for units (n,) of widths (n, 1 + w) and sides (n, s)."""
        value: Integers = sides[:, self.side] * (widths @ self.coefficients) // self.divisor
        return value


def independent(
    widths: Integers,
) -> tuple[list[int], tuple[tuple[int, Integers, int], ...]]:
    """Return the columns that are no function of those before them, and what the others are."""
    kept: list[int] = []
    relations = []
    for column in range(widths.shape[1]):
        if kept:
            solved = _solve(widths[:, kept], widths[:, column])
            if solved is not None:
                coefficients = np.zeros(widths.shape[1], np.int64)
                coefficients[kept] = solved[0]
                relations.append((column, coefficients, solved[1]))
                continue
        kept.append(column)
    return kept, tuple(relations)


class NotAffineError(Exception):
    """No such function gives some numbers."""


class Fit:
    """Finds the function of sizes that gives some numbers, one for each traced unit."""

    def __init__(self, widths: Integers, sides: Integers, columns: Sequence[int]) -> None:
        self._widths, self._sides = widths, sides
        others = [c for c in columns if c]
        # Simple explanations first: nothing, one size, then with a constant, then two sizes.
        self._supports = [
            [0],
            *([c] for c in others),
            *([0, c] for c in others),
            *(list(pair) for pair in combinations(others, 2)),
            *([0, *pair] for pair in combinations(others, 2)),
        ]
        self._known: dict[tuple[int, ...], Dimension | int] = {}

    def __call__(self, numbers: tuple[int, ...]) -> Dimension | int:
        """Return the function.

        Raises:
            NotAffineError: where there is none.
        """
        if len(set(numbers)) == 1:
            return numbers[0]
        if numbers not in self._known:
            self._known[numbers] = self._find(np.array(numbers, np.int64))
        return self._known[numbers]

    def _find(self, numbers: Integers) -> Dimension:
        for support in self._supports:
            for side in range(self._sides.shape[1]):
                scale = self._sides[:, side]
                solved = _solve(scale[:, None] * self._widths[:, support], numbers)
                if solved is not None:
                    coefficients = np.zeros(self._widths.shape[1], np.int64)
                    coefficients[support] = solved[0]
                    return Dimension(side, coefficients, solved[1])
        raise NotAffineError


def _solve(matrix: Integers, numbers: Integers) -> tuple[Integers, int] | None:
    """Return integers c and d with `matrix @ c == d * numbers` in every row, if there are any."""
    found = np.linalg.lstsq(matrix.astype(float), numbers.astype(float), rcond=None)[0]
    if np.abs(matrix @ found - numbers).max() > 1e-6 * max(1.0, float(np.abs(numbers).max())):
        return None
    for divisor in (1, 2, 4, 8, 16):
        scaled = np.rint(found * divisor).astype(np.int64)
        if scaled.any() and (matrix @ scaled == divisor * numbers).all():
            return scaled, divisor
    return None
