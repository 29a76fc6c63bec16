"""`Score` and `ScoreSource`: what every source of accuracy scores gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from effsearch.export.weights import Weights
from searchspace import Architecture, SearchSpace
from searchspace.errors import UserError
from searchspace.schema import CLASSIFICATION
from searchspace.units import Unit

Array = NDArray[np.float64]

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


class ScoreSource(ABC):
    """Scores architectures one by one; no score depends on which others are scored.

    What is not abstract has a default that fits most sources.

    Attributes:
        name: as in `--proxy NAME`.
        kind: `estimated`: nobody trained the candidate; `inherited`: measured on images with the
            weights of a supernet.
        unit: of the score.
        task: what the networks that it scores are for; None where it scores any.
        note: what to keep in mind beside it; may be empty.
        space: the only networks that it can score are this space's; None where it scores any.
        card: plain data that scores depend on: a run that is continued checks that it is the same;
            None where they depend on the code alone.
        repeatable: whether card, options and code say all that scores depend on, so that scores may
            be kept over runs.
        held_out: plain data on its error on networks that it has not seen; empty where not stated.
    """

    name: str
    kind: str
    unit: str
    task: str | None = CLASSIFICATION
    note: str = ""
    space: SearchSpace | None = None
    card: Any = None
    repeatable: bool = True
    held_out: Any = MappingProxyType({})

    @abstractmethod
    def score(self, architecture: Architecture) -> Score:
        """Return the score of one architecture."""

    def score_graph(self, path: Path) -> Score:
        """Return the score of any image classifier, from its ONNX graph alone.

        Raises:
            UserError: where this source scores architectures only, or the file is no such graph.
        """
        raise UserError(
            f"{path}: {self.name} scores published networks and architecture YAMLs only; "
            "--proxy imagenet takes an ONNX file"
        )

    def reasons(self, before: Architecture, after: Architecture) -> Mapping[str, float]:
        """Return why two networks score differently: points that each cause adds to the score.

        Empty where the source can't say.
        """
        return {}

    def check(self, space: SearchSpace) -> None:  # noqa: B027 (most sources have nothing to check)
        """Check, before a search starts, that networks of a space can be scored on this machine.

        Raises:
            UserError: where they cannot.
        """

    def weights_for(self, architecture: Architecture, score: float, folder: Path) -> Weights | None:
        """Return the weights that a winner was scored with; None where it was scored without.

        Args:
            architecture: the winner.
            score: that it had.
            folder: where its checkpoint may be put until it is copied.
        """
        return None


class TotalsScore(ScoreSource):
    """A score that is a function of totals over units, so that populations are scored at once.

    What a total over units does not say of a network (its resolution, say) one of them can carry:
    a network has one stem and one head. Totals of its backbone as a network of its own can stand
    behind them.
    """

    def backbones(self, space: SearchSpace) -> SearchSpace | None:
        """Return the space of members' backbones, where the score takes their totals too.

        Its axes are some of the space's own, with the same values; None where it takes none.
        """
        return None

    def backbone_features(self, units: Sequence[Unit]) -> Array:
        """Return what units of backbones add to their totals, (n, d)."""
        return np.zeros((len(units), 0))

    @abstractmethod
    def units_features(self, units: Sequence[Unit]) -> Array:
        """Return what units add to the totals, (n, d)."""

    @abstractmethod
    def score_features(self, matrix: Array) -> tuple[Array, Array]:
        """Return scores and standard deviations, (n,) each, of totals (n, d); backbones' last.

        A row's result does not depend on the other rows.
        """
