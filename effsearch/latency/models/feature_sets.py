"""Feature sets: the totals over a network's operators that a calibrated table has prices for.

`processor`: totals for a CPU. `accelerator`: totals for a phone's accelerator. `base:TABLE`: the
milliseconds that another table gives to each kind of operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from effsearch.latency.catalogue import SHIPPED
from effsearch.latency.cost_model import Array, CostModel, PricedTotals
from effsearch.latency.models import accelerator_features as phone
from effsearch.latency.models import processor_features as processor
from effsearch.latency.models.card import LoadModel, read_card
from effsearch.latency.models.fitted import PRICED, RUN, FittedTable
from effsearch.latency.models.price_prior import PricePrior, processor_prior, structured
from searchspace import UserError
from searchspace.operators import KINDS, Operator

PROCESSOR, ACCELERATOR, TABLE = "processor", "accelerator", "base:"
_ACCELERATOR_PRIOR = "iphone12"
_SCALE_STD = 3.0
_GROUP_STD = {"count": 0.8, "gmacs": 0.3, "mb": 0.3}
_OWN_STD = 0.3  # by how much another accelerator's price differs, beyond its group
_KIND_STD = 0.4


class FeatureSet(Protocol):
    """Totals over operators, and what is believed of their prices before any measurement."""

    @property
    def name(self) -> str:
        """As tables store it."""
        ...

    @property
    def totals(self) -> tuple[str, ...]:
        """Names; the first is the run itself, of which operators have nothing."""
        ...

    @property
    def prior(self) -> PricePrior:
        """The totals' prices on an unknown device."""
        ...

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return totals (len(totals),) that add up over operators; the first is 0."""
        ...

    def of_network(self, features: Array, whole: Array | None = None) -> Array:
        """Return the totals that are priced, of networks or of parts of one.

        Args:
            features: sums over operators, of networks or of the parts of one, (n, J).
            whole: the network's own, where the rows are its parts, (J,).
        """
        ...


@dataclass(frozen=True)
class ProcessorFeatures:
    """Totals of `effsearch.latency.models.processor_features`."""

    name: str = PROCESSOR

    @property
    def totals(self) -> tuple[str, ...]:
        """Names."""
        return processor.names()

    @property
    def prior(self) -> PricePrior:
        """That of `processor.yaml`."""
        return processor_prior()

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return totals."""
        return processor.features(operators)

    def of_network(self, features: Array, whole: Array | None = None) -> Array:
        """Return totals with weights beyond caches."""
        return processor.of_network(features, whole)


@dataclass(frozen=True)
class AcceleratorFeatures:
    """Totals of `accelerator_features`, with the prices of a phone as prior."""

    name: str = ACCELERATOR

    @property
    def totals(self) -> tuple[str, ...]:
        """Names; what an iPhone's hardware needs at least is priced in its milliseconds."""
        return (*PRICED, "floor.ms")

    @property
    def prior(self) -> PricePrior:
        """Ratios of an iPhone's prices, loosened: other accelerators differ."""
        table = _phone()
        own = np.sqrt(np.append(np.diag(table.covariance), 0.0) + _OWN_STD**2)
        return structured(np.append(table.price, 1.0), self.totals, own, _GROUP_STD, _SCALE_STD)

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return totals."""
        found = phone.features(operators, _phone().hardware)
        return np.concatenate([[0.0], found[1:], found[:1]])

    def of_network(self, features: Array, whole: Array | None = None) -> Array:
        """Return totals as they are."""
        return features.copy()


@dataclass(frozen=True)
class TableFeatures:
    """What another table says of operators, summed by kind.

    Attributes:
        name: `base:` and the table's name.
        model: the table's.
    """

    name: str
    model: CostModel = field(repr=False)

    @property
    def totals(self) -> tuple[str, ...]:
        """Names."""
        return (RUN, *(f"{kind}.ms" for kind in KINDS))

    @property
    def prior(self) -> PricePrior:
        """Ratios to the other table's prices."""
        size = len(self.totals)
        price, std = np.ones(size), np.full(size, _KIND_STD)
        price[0], std[0] = 0.05, 1.0
        return structured(price, self.totals, std, {}, _SCALE_STD)

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return totals."""
        found = np.zeros(len(self.totals))
        if operators:
            rows = np.stack([self.model.features([o]) for o in operators])
            # One by one, or the shares of one would depend on the others.
            for operator, row in zip(operators, rows, strict=True):
                ms = float(self.model.attribute(row[None])[0])
                found[1 + KINDS.index(operator.kind)] += ms
        return found

    def of_network(self, features: Array, whole: Array | None = None) -> Array:
        """Return totals as they are."""
        return features.copy()


def feature_set(name: str, load_model: LoadModel) -> FeatureSet:
    """Return a feature set by the name that cards state.

    Args:
        name: `processor`, `accelerator`, or `base:` and a table's name.
        load_model: returns the cost model of that table.

    Raises:
        UserError: where there is none of that name, or its table is gone.
    """
    if name == PROCESSOR:
        return ProcessorFeatures()
    if name == ACCELERATOR:
        return AcceleratorFeatures()
    if name.startswith(TABLE):
        return TableFeatures(name, load_model(name[len(TABLE) :]))
    raise UserError(f"totals: {name!r} is not one of {PROCESSOR}, {ACCELERATOR}, {TABLE}TABLE")


def network_totals(chosen: FeatureSet, networks: Sequence[Sequence[Operator]]) -> PricedTotals:
    """Return the totals of networks, each given as its operators."""
    totals = chosen.of_network(np.stack([chosen.features(operators) for operators in networks]))
    totals[:, 0] = 1.0
    return PricedTotals(chosen.totals, totals, np.zeros(len(networks)))


@lru_cache(maxsize=1)
def _phone() -> FittedTable:
    path = SHIPPED / f"{_ACCELERATOR_PRIOR}.json"
    return FittedTable.from_card(read_card(path), path)
