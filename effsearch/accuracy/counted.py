"""Counting as a score: the baselines that every other source has to beat."""

from __future__ import annotations

import math
from typing import ClassVar

from effsearch.accuracy.score import Score, ScoreSource
from searchspace import Architecture
from searchspace.operators import operators

# Means and standard deviations of log MACs and log depth over the 16 published networks: a fixed
# scale for their sum, where ranks would depend on the other candidates.
_LOG_MACS = (20.54, 0.92)
_LOG_DEPTH = (2.79, 0.41)


class Counted(ScoreSource):
    """Parameters, multiply-accumulates, depth, or depth and MACs together.

    Attributes:
        name: `params`, `macs`, `depth` (blocks) or `depth+macs`.
    """

    kind = "estimated"
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
        return Score(self._count(architecture), 0.0)

    def _count(self, architecture: Architecture) -> float:
        if self.name == "depth":
            return float(architecture.depth)
        parts = operators(architecture, "train")
        if self.name == "params":
            return float(sum(o.params for o in parts))
        macs = float(sum(o.macs for o in parts))
        if self.name == "macs":
            return macs
        depth = math.log(architecture.depth)
        mean, std = _LOG_MACS
        middle, spread = _LOG_DEPTH
        return (math.log(macs) - mean) / std + (depth - middle) / spread
