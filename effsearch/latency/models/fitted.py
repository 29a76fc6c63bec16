"""Tables fitted to whole networks' latencies: prices that add up over operators, with their error.

A table knows nothing of architectures. It prices any operators; what it returns for parts of a
network adds up to what it returns for the whole, but for the cost of a run, which comes once.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from effsearch.latency.cost_model import Array, PricedTotals
from effsearch.latency.models.accelerator_features import (
    FEATURES,
    TRAITS,
    Hardware,
    features_of_many,
    has_trait,
    operator_totals,
    trait,
)
from effsearch.latency.models.card import (
    CardPart,
    LoadModel,
    Positive,
    Price,
    TableCard,
    covariance,
    in_order,
    moved_levels,
    up_to,
)
from effsearch.validation import read
from searchspace.operators import Operator

FORMAT = 1
RUN = "run.count"  # the fixed cost of a run, counted once a network
PRICED = (RUN, *(name for name in FEATURES if name != "floor.ms"))


class _Hardware(CardPart):
    peak_gmacs_per_ms: Positive
    weight_mb_per_ms: Positive
    on_chip_mb: Positive
    source: str = ""


class _Traits(CardPart):
    measured: list[str]
    transferred: list[str]


class _FittedCard(TableCard):
    format: Annotated[int, up_to(FORMAT)]
    kind: Literal["fitted"]
    compute_unit: str
    hardware: _Hardware
    traits: _Traits
    prices: list[Price]
    covariance: list[list[float]]
    residual_std: Positive
    transferred_std: Positive


@dataclass(frozen=True)
class FittedTable:
    """Prices of one device.

    Attributes:
        name: of the table.
        price: milliseconds for a unit of each of `PRICED`; all positive.
        covariance: of the prices' logarithms.
        hardware: the device's rates, which set the floor.
        residual_std: of log latencies of networks that the fit has not seen, beyond what the
            prices' uncertainty explains.
        transferred_std: what is added for the share of a network whose operators were measured on
            related phones only.
        measured_traits: unusual operators, by `accelerator_features.trait`, that a network
            measured on this very device has.
        transferred_traits: those that only networks measured on related devices have. Prices of
            operators with any other trait are nothing but the prior's.
        measured_blocks: block types that a network measured on this very device has.
        transferred_blocks: block types that only networks measured on related devices have.
        card: the table's file as read: device, runtime, errors, sources.
    """

    name: str
    price: Array
    covariance: Array
    hardware: Hardware
    residual_std: float
    transferred_std: float
    measured_traits: frozenset[str]
    transferred_traits: frozenset[str]
    measured_blocks: frozenset[str]
    transferred_blocks: frozenset[str]
    card: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_card(cls, card: Mapping[str, Any], where: str | Path = "table") -> FittedTable:
        """Check what a table's card holds and return the table.

        Args:
            card: as its file has it.
            where: the file, for messages.

        Raises:
            UserError: names the file and the field that is wrong.
        """
        checked = read(_FittedCard, card, where)
        prices = in_order(checked.prices, PRICED, where)
        return cls(
            name=checked.name,
            price=np.array([price.ms for price in prices]),
            covariance=covariance(checked.covariance, len(PRICED), where),
            hardware=Hardware(**checked.hardware.model_dump()),
            residual_std=checked.residual_std,
            transferred_std=checked.transferred_std,
            measured_traits=frozenset(checked.traits.measured),
            transferred_traits=frozenset(checked.traits.transferred),
            measured_blocks=frozenset(checked.blocks.measured),
            transferred_blocks=frozenset(checked.blocks.transferred),
            card=card,
        )

    @property
    def kind(self) -> str:
        """`fitted`."""
        return "fitted"

    @property
    def meta(self) -> dict[str, Any]:
        """What the table's file says of itself."""
        return dict(self.card)

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return the totals of operators; they add up over parts of a network.

        Args:
            operators: form "deploy".

        Returns:
            The totals of `FEATURES`, then the ms in operators whose prices are transferred: shape
            (len(FEATURES) + 1,).
        """
        row: Array = self.features_of_many(operators, 1)[0]
        return row

    def features_of_many(self, operators: Sequence[Operator], count: int) -> Array:
        """Return `features` of parts that differ in numbers alone, (count, d)."""
        foreign = np.zeros(count)
        for operator in operators:
            transferred = self._is_transferred(operator)
            if np.any(transferred):
                foreign += transferred * self._ms(operator)
        return np.column_stack([features_of_many(operators, self.hardware, count), foreign])

    def as_transferred(self, features: Array, block: str) -> Array:
        """Return blocks' features (n, d), all of their ms taken for transferred.

        Where no related device measured the type either, the interval has nothing to be widened
        by, and they stay as they are.
        """
        if block not in self.transferred_blocks:
            return features
        changed = features.copy()
        changed[:, -1] = self._parts_ms(features)
        return changed

    def priced_totals(self, networks: Sequence[Sequence[Operator]]) -> PricedTotals:
        """Return the totals of networks, each given as its operators."""
        features = np.stack([self.features(operators) for operators in networks])
        totals = features[:, : len(PRICED)].copy()
        totals[:, 0] = 1.0
        return PricedTotals(PRICED, totals, features[:, 0])

    def moved_card(self, operators: Sequence[Operator], blocks: Collection[str]) -> dict[str, Any]:
        """Return the card for a device on which other networks were measured.

        Args:
            operators: of all networks measured there.
            blocks: their block types.
        """
        traits = {t for o in operators if (t := trait(o))}
        card = copy.deepcopy(dict(self.card))
        card.pop("latencies", None)
        return card | {
            "blocks": moved_levels(card.get("blocks", {}), blocks),
            "traits": moved_levels(card["traits"], traits),
        }

    def evaluate(self, features: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation in ms of networks' latencies.

        Latencies are log-normal. The deviation grows as costs lie where the measured networks had
        few, and with the share of operators that were never measured on this device.

        Args:
            features: shape (n, len(FEATURES) + 1).

        Returns:
            Two arrays of shape (n,).
        """
        median, variance = self._log_normal(features)
        mean = median * np.exp(variance / 2)
        return mean, mean * np.sqrt(np.expm1(variance))

    def attribute(self, features: Array) -> Array:
        """Return what the parts of one network add to its mean, without the cost of a run.

        Args:
            features: of the parts, shape (n, len(FEATURES) + 1).

        Returns:
            Milliseconds, shape (n,).
        """
        _, variance = self._log_normal(features.sum(axis=0, keepdims=True))
        return self._parts_ms(features) * np.exp(variance / 2)

    def mark(self, operators: Sequence[Operator]) -> str:
        """Return the kind of a part's price: `fitted`, `transferred` or `estimated`."""
        unusual = {t for o in operators if (t := trait(o))} - self.measured_traits
        if unusual - self.transferred_traits or any(o.kind == "other" for o in operators):
            return "estimated"
        return "transferred" if unusual else "fitted"

    def operator_ms(self, operators: Sequence[Operator]) -> Array:
        """Return what each operator costs (the median), shape (len(operators),)."""
        return np.array([self._ms(operator) for operator in operators])

    def floor_ms(self, operators: Sequence[Operator]) -> Array:
        """Return what the hardware needs at least for each operator, shape (len(operators),)."""
        return np.array([dict(operator_totals(o, self.hardware))["floor.ms"] for o in operators])

    def _ms(self, operator: Operator) -> Any:
        totals = operator_totals(operator, self.hardware)
        return sum(self._prices[name] * amount for name, amount in totals)

    @cached_property
    def _prices(self) -> dict[str, float]:
        return dict(zip(PRICED, self.price.tolist(), strict=True)) | {"floor.ms": 1.0}

    def _is_transferred(self, operator: Operator) -> Any:
        found: Any = False
        for name in TRAITS:
            if name not in self.measured_traits:
                found = found | has_trait(operator, name)
        return found

    def _parts_ms(self, features: Array) -> Array:
        return np.asarray(features[:, 0] + features[:, 1:-1] @ self.price[1:])

    def _log_normal(self, features: Array) -> tuple[Array, Array]:
        """Return medians in ms and variances of logarithms, (n,) each."""
        costs = np.empty((len(features), len(PRICED)))
        costs[:, 0] = self.price[0]
        costs[:, 1:] = features[:, 1:-1] * self.price[1:]
        median = costs.sum(axis=1) + features[:, 0]
        shares = costs / median[:, None]
        leverage = ((shares @ self.covariance) * shares).sum(axis=1)
        transferred = self.transferred_std * features[:, -1] / median
        return median, self.residual_std**2 + leverage + transferred**2


def read_table(card: Mapping[str, Any], path: Path, load_model: LoadModel) -> FittedTable:
    """Return the table of a card; its kind's reader in the registry.

    Raises:
        UserError: names the file and the field that is wrong.
    """
    return FittedTable.from_card(card, path)
