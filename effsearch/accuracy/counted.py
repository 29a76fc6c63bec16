"""Counting as a score: the baselines that every other source has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from effsearch.accuracy.score import Array, Score, TotalsScore
from searchspace import Architecture
from searchspace.templates import unit_counts
from searchspace.units import Unit, units

# Means and standard deviations of log MACs and log depth over the 16 published networks: a fixed
# scale for their sum, where ranks would depend on the other candidates.
_LOG_MACS = (20.54, 0.92)
_LOG_DEPTH = (2.79, 0.41)


class Counted(TotalsScore):
    """Parameters, multiply-accumulates, depth, or depth and MACs together.

    Attributes:
        name: `params`, `macs`, `depth` (blocks) or `depth+macs`.
    """

    kind = "estimated"
    task = None
    note = "A count, as a score: a baseline."
    UNITS: ClassVar[dict[str, str]] = {
        "params": "parameters",
        "macs": "multiply-accumulates",
        "depth": "blocks",
        "depth+macs": "standard deviations of the published networks",
    }

    def __init__(self, name: str) -> None:
        self.name = name
        self.unit = self.UNITS[name]

    def score(self, architecture: Architecture) -> Score:
        """Return the count; its standard deviation is 0."""
        rows = self.units_features([placed.unit for placed in units(architecture)])
        mean, _ = self.score_features(rows.sum(axis=0, keepdims=True))
        return Score(float(mean[0]), 0.0)

    def units_features(self, units: Sequence[Unit]) -> Array:
        """Return units' parameters and multiply-accumulates, and 1 for a block, (n, 3)."""
        return np.column_stack([unit_counts(units), [unit.role == "block" for unit in units]])

    def score_features(self, matrix: Array) -> tuple[Array, Array]:
        """Return the counts (n,) of totals (n, 3), and zeros."""
        params, macs, depth = matrix.T
        if self.name == "depth+macs":
            mean, std = _LOG_MACS
            middle, spread = _LOG_DEPTH
            counts = (np.log(macs) - mean) / std + (np.log(depth) - middle) / spread
        else:
            counts = {"params": params, "macs": macs, "depth": depth}[self.name]
        return counts, np.zeros(len(matrix))
