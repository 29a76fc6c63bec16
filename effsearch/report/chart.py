"""`Chart`: where things stand on a plane of the page, in percent, so that it takes any width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Place = tuple[float, float]

LOG_STEPS = (1, 1.5, 2, 3, 4, 5, 7)  # ticks within a decade
_ABBREVIATED = 10_000  # 200k and 1M from here on


@dataclass(frozen=True)
class Axis:
    """An axis.

    Attributes:
        label: what it says.
        low: value at its begin.
        high: value at its end, above `low`.
        log: whether it is logarithmic; its values are positive then.
    """

    label: str
    low: float
    high: float
    log: bool = False

    @classmethod
    def around(cls, label: str, values: Iterable[float], margin: float = 0.0) -> Axis:
        """Return the axis that holds some values, with a share of their range on both sides."""
        found = list(values) or [0.0]
        low, high = min(found), max(found)
        room = margin * (high - low)
        return cls(label, low - room, high + room if high > low else low + 1)

    def place(self, value: float) -> float:
        """Return how far along the axis a value is, in percent."""
        low, high, at = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return round(100 * (at - low) / (high - low), 2)

    def ticks(self) -> list[tuple[float, str]]:
        """Return the place and the text of each tick."""
        from matplotlib.ticker import EngFormatter, LogLocator, MaxNLocator

        even = MaxNLocator(6, steps=[1, 2, 5, 10])
        locator = LogLocator(base=10, subs=LOG_STEPS) if self.log else even
        values = [v for v in locator.tick_values(self.low, self.high) if self.low <= v <= self.high]
        text = EngFormatter(sep="") if self.high >= _ABBREVIATED else "{:g}".format
        return [(self.place(v), text(float(v))) for v in values]


@dataclass(frozen=True)
class Chart:
    """A plane of two axes; places are from its upper left corner.

    Attributes:
        x: to the right.
        y: upwards.
    """

    x: Axis
    y: Axis

    def place(self, x: float, y: float) -> Place:
        """Return where a point stands, in percent of the width and of the height."""
        return self.x.place(x), round(100 - self.y.place(y), 2)

    def holds(self, x: float, y: float) -> bool:
        """Whether a point is on the plane."""
        return self.x.low <= x <= self.x.high and self.y.low <= y <= self.y.high

    def line(self, points: Sequence[tuple[float, float]], steps: bool = False) -> str:
        """Return a line through points, as SVG's `points`.

        Args:
            points: values, from left to right.
            steps: whether y holds until the next x, as on a front.
        """
        places: list[Place] = []
        for x, y in points:
            at = self.place(x, y)
            if steps and places:
                places.append((at[0], places[-1][1]))
            places.append(at)
        return " ".join(f"{x:g},{y:g}" for x, y in places)
