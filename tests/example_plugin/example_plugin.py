"""A score source of another package: wide networks are good ones."""

from typing import Annotated

from effsearch.accuracy.options import Flag, ScoreOptions
from effsearch.accuracy.registry import Entry
from effsearch.accuracy.score import Score, ScoreSource
from searchspace import Architecture


class Options(ScoreOptions):
    """Options of `widest`.

    Attributes:
        power: of the width.
    """

    power: Annotated[float, Flag("Power of the width; 1 by default")] = 1.0


class Widest(ScoreSource):
    """The last stage's width, to a power."""

    name = "widest"
    kind = "estimated"
    unit = "channels"

    def __init__(self, options: Options) -> None:
        self.options = options
        self.card = {"power": options.power}

    def score(self, architecture: Architecture) -> Score:
        """Return the width to the power."""
        return Score(float(architecture.stages[-1].width) ** self.options.power, 0.0)


WIDEST = Entry("widest", Widest, Options)
