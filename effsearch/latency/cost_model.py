"""What a device table needs of a cost model: features that add up over operators, and a price."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from effsearch.latency.machine_speed import MachineSpeed
from searchspace import Operator

Array = NDArray[np.float64]


class CostModel(Protocol):
    """Prices networks from features that are additive over their operators.

    Because features add up, a network's are the sum of its units', which are cached; and a whole
    population is priced with a few matrix products.
    """

    @property
    def kind(self) -> str:
        """`measured`, `fitted` or `estimated`."""
        ...

    @property
    def meta(self) -> dict[str, Any]:
        """What the table's file says of itself: device, os, runtime, precision, errors."""
        ...

    @property
    def measured_blocks(self) -> frozenset[str]:
        """Block types of which a network was measured on this very device."""
        ...

    def as_transferred(self, features: Array, block: str) -> Array:
        """Return features (n, d) of blocks of a type not measured here: no cheaper, less sure.

        Args:
            features: of the blocks' operators, (n, d).
            block: their type.
        """
        ...

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return the feature vector (d,) of some operators; additive over their concatenation."""
        ...

    def evaluate(self, features: Array) -> tuple[Array, Array]:
        """Return latency mean and standard deviation in ms, (n,) each, of networks (n, d)."""
        ...

    def attribute(self, features: Array) -> Array:
        """Return the ms (n,) that parts of one network add to its mean; without fixed overhead."""
        ...

    def mark(self, operators: Sequence[Operator]) -> str:
        """Return the kind of a part's price: `measured`, `fitted`, `transferred` or `estimated`."""
        ...


@dataclass(frozen=True)
class PricedTotals:
    """Networks as a model linear in its prices sees them.

    Attributes:
        names: of the totals, (J,); the first is the run.
        totals: of n networks, (n, J); the first column is 1.
        floor_ms: what the hardware needs at least, which has no price, (n,).
    """

    names: tuple[str, ...]
    totals: Array
    floor_ms: Array


@runtime_checkable
class ManyAtOnce(Protocol):
    """A cost model whose features of many parts are found at once."""

    def features_of_many(self, operators: Sequence[Operator], count: int) -> Array:
        """Return `features` of parts that differ in numbers alone, (count, d).

        Args:
            operators: of the parts; numbers that differ are arrays (count,).
            count: of the parts.
        """
        ...


@runtime_checkable
class PreparedPrices(Protocol):
    """A cost model that prices many operators faster than one by one."""

    def prepare(self, operators: Sequence[Operator]) -> None:
        """Have the prices of operators ready for `features` and `mark`."""
        ...


@runtime_checkable
class MovableModel(Protocol):
    """A cost model whose prices can be moved to another device's measured networks.

    Attributes:
        price: medians in ms for a unit of each total, (J,).
        covariance: of the prices' logarithms, (J, J).
        card: the table's card.
    """

    price: Array
    covariance: Array
    card: Mapping[str, Any]

    def priced_totals(self, networks: Sequence[Sequence[Operator]]) -> PricedTotals:
        """Return the totals of networks, each given as its operators."""
        ...

    def moved_card(self, operators: Sequence[Operator], blocks: Collection[str]) -> dict[str, Any]:
        """Return the card for a device on which other networks were measured.

        Args:
            operators: of all networks measured there.
            blocks: their block types.
        """
        ...


@runtime_checkable
class SpeedModel(Protocol):
    """A cost model that says at which speed of its machine the prices hold."""

    @property
    def speed(self) -> MachineSpeed | None:
        """That speed; None where the table does not say."""
        ...

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return the feature vector (d,) of some operators."""
        ...

    def slower(self, features: Array, now: MachineSpeed) -> Array:
        """Return how many times longer networks take at another speed.

        Args:
            features: of the networks, (n, d).
            now: the machine's speed, measured with them.

        Returns:
            Factors, (n,).
        """
        ...
