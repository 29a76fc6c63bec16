"""`Score` and `ScoreSource`: what every source of accuracy scores gives."""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple, Protocol

from searchspace import Architecture

LOWER_BOUND_CONFIDENCE = 0.8
Z = NormalDist().inv_cdf(LOWER_BOUND_CONFIDENCE)  # 0.84


class Score(NamedTuple):
    """A score and its uncertainty; higher is better.

    Attributes:
        score: in the source's unit.
        std: standard deviation in the same unit; 0 for a count.
    """

    score: float
    std: float

    @property
    def lower_bound(self) -> float:
        """The value exceeded with probability 0.8, `score - 0.84 std`.

        Candidates are ranked by it, so that a search does not select its own overestimates.
        """
        return self.score - Z * self.std


class ScoreSource(Protocol):
    """Scores architectures one by one; no score depends on which others are scored.

    Attributes:
        name: as in `--proxy NAME`.
        kind: `estimated`: nobody trained the candidate; `inherited`: measured on images with the
            weights of a supernet.
        unit: of the score.
        note: what to keep in mind beside it; may be empty.
    """

    name: str
    kind: str
    unit: str
    note: str

    def score(self, architecture: Architecture) -> Score:
        """Return the score of one architecture."""
        ...
