"""The forms of what a calibrated table charges operators for, by name.

`processor`: a CPU's totals. `accelerator`: a phone's. `base:TABLE`: what another table says of
each kind of operator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import numpy as np

from effsearch.latency.calibrate.price_prior import PricePrior, processor_prior, structured
from effsearch.latency.catalogue import SHIPPED, load_table
from effsearch.latency.cost_model import Array, CostModel
from effsearch.latency.models import accelerator_features as phone
from effsearch.latency.models import processor_features as processor
from effsearch.latency.models.fitted import PRICED, RUN, FittedTable
from searchspace import UserError
from searchspace.operators import KINDS, Operator

PROCESSOR, ACCELERATOR, BASE = "processor", "accelerator", "base:"
_ACCELERATOR_PRIOR = "iphone12"
_SCALE_STD = 3.0
_GROUP_STD = {"count": 0.8, "gmacs": 0.3, "mb": 0.3}
_OWN_STD = 0.3  # by how much another accelerator's price differs, beyond its group
_KIND_STD = 0.4


class Form(Protocol):
    """What operators are charged for, and what is believed of the prices."""

    @property
    def name(self) -> str:
        """As tables store it."""
        ...

    @property
    def totals(self) -> tuple[str, ...]:
        """Names; the first is the run, which operators are not charged for."""
        ...

    @property
    def prior(self) -> PricePrior:
        """Of their prices on an unknown device."""
        ...

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return totals (len(totals),) that add up over operators; the first is 0."""
        ...

    def of_network(self, features: Array, whole: Array | None = None) -> Array:
        """Return what networks (n, J), or parts of a whole (J,), are charged for."""
        ...


@dataclass(frozen=True)
class ProcessorForm:
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
class AcceleratorForm:
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
class BaseForm:
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


def form(name: str) -> Form:
    """Return a form by the name that tables store.

    Raises:
        UserError: where there is none of that name, or its table is gone.
    """
    if name == PROCESSOR:
        return ProcessorForm()
    if name == ACCELERATOR:
        return AcceleratorForm()
    if name.startswith(BASE):
        return BaseForm(name, load_table(name[len(BASE) :]).model)
    raise UserError(f"totals: {name!r} is unknown; use {PROCESSOR}, {ACCELERATOR} or {BASE}TABLE")


@lru_cache(maxsize=1)
def _phone() -> FittedTable:
    return FittedTable.load(SHIPPED / f"{_ACCELERATOR_PRIOR}.json")
