"""What a device table needs of a cost model: features that add up over operators, and a price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

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
    def transferred_blocks(self) -> frozenset[str]:
        """Block types that no network measured on this very device has."""
        ...

    def as_transferred(self, features: Array) -> Array:
        """Return the features (d,) of a part of such a type: the same price, less sure."""
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


class MeasuredThroughout:
    """For cost models of devices on which every block type was measured: none is transferred."""

    @property
    def transferred_blocks(self) -> frozenset[str]:
        """None."""
        return frozenset()

    def as_transferred(self, features: Array) -> Array:
        """Return the features as they are."""
        return features
