"""Tables of another package: an operator takes as long as its arithmetic or its traffic."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.latency.cost_model import Array
from effsearch.latency.models.card import LoadModel, Positive, TableCard
from effsearch.validation import read
from searchspace import Operator

RELATIVE_STD = 0.5  # nobody measured how far such a table is off


class Card(TableCard):
    """What such a table's file holds, beside what every table states.

    Attributes:
        gmacs_per_ms: the device's peak.
        mb_per_ms: the bandwidth of its memory.
        dispatch_ms: what it takes to start an operator.
        run_ms: what a run takes besides.
    """

    gmacs_per_ms: Positive
    mb_per_ms: Positive
    dispatch_ms: Positive
    run_ms: Positive


class Roofline:
    """Prices operators by a device's peak rates."""

    kind = "estimated"
    measured_blocks: frozenset[str] = frozenset()

    def __init__(self, card: Card) -> None:
        self._card = card

    @property
    def meta(self) -> dict[str, Any]:
        """What the table says of itself."""
        return self._card.model_dump() | {"kind": self.kind}

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return the ms of some operators, (1,); it adds up over them."""
        return np.array([sum(self._ms(operator) for operator in operators)])

    def evaluate(self, features: Array) -> tuple[Array, Array]:
        """Return latency mean and standard deviation in ms, (n,) each, of networks (n, 1)."""
        mean = features.sum(axis=1) + self._card.run_ms
        return mean, RELATIVE_STD * mean

    def as_transferred(self, features: Array, block: str) -> Array:
        """Return the features as they are: all blocks are equally unknown."""
        return features

    def attribute(self, features: Array) -> Array:
        """Return the ms (n,) of parts of a network."""
        return features.sum(axis=1)

    def mark(self, operators: Sequence[Operator]) -> str:
        """Return what every price here is."""
        return self.kind

    def _ms(self, operator: Operator) -> float:
        moved = operator.input_bytes + operator.weight_bytes + operator.output_bytes
        arithmetic = operator.macs / 1e9 / self._card.gmacs_per_ms
        return self._card.dispatch_ms + max(arithmetic, moved / 1e6 / self._card.mb_per_ms)


def read_table(card: Mapping[str, Any], path: Path, load_model: LoadModel) -> Roofline:
    """Return the cost model of a table.

    Raises:
        UserError: where a field is missing or wrong; names it.
    """
    return Roofline(read(Card, card, path))
