"""Tables calibrated from whole networks' latencies on a device: prices with a prior for each."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from effsearch.latency.cost_model import Array, PricedTotals
from effsearch.latency.models.card import (
    LoadModel,
    Positive,
    Price,
    TableCard,
    covariance,
    in_order,
    moved_levels,
    up_to,
)
from effsearch.latency.models.feature_sets import TABLE, FeatureSet, feature_set, network_totals
from effsearch.validation import read
from searchspace.errors import UserError
from searchspace.operators import Operator

FORMAT = 1


class _CalibratedCard(TableCard):
    format: Annotated[int, up_to(FORMAT)]
    kind: Literal["fitted"]
    compute_unit: str
    totals: str
    prices: list[Price]
    covariance: list[list[float]]
    residual_std: Positive


@dataclass(frozen=True)
class CalibratedTable:
    """Prices of one device, from networks measured whole.

    Attributes:
        feature_set: the totals that are priced.
        price: milliseconds for a unit of each of these totals, (J,); all positive.
        covariance: of the prices' logarithms, (J, J).
        residual_std: of log latencies of networks left out, beyond what prices explain.
        seen: whether some measured network has some of each total, (J,).
        measured_blocks: block types that some measured network has.
        card: the table's file as read.
    """

    feature_set: FeatureSet
    price: Array
    covariance: Array
    residual_std: float
    seen: tuple[bool, ...]
    measured_blocks: frozenset[str]
    card: Mapping[str, Any] = field(repr=False)

    @classmethod
    def from_card(
        cls, card: Mapping[str, Any], load_model: LoadModel, where: str | Path = "table"
    ) -> CalibratedTable:
        """Check what a table's card holds and return the table.

        Args:
            card: as its file has it.
            load_model: returns another table's cost model by name; called where this table
                prices what another says.
            where: the file, for messages.

        Raises:
            UserError: names the file and the field that is wrong.
        """
        checked = read(_CalibratedCard, card, where)
        if checked.totals == f"{TABLE}{checked.name}":
            raise UserError(f"{where}: totals: this table stands on itself")
        try:
            priced = feature_set(checked.totals, load_model)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        prices = in_order(checked.prices, priced.totals, where)
        return cls(
            feature_set=priced,
            price=np.array([price.ms for price in prices]),
            covariance=covariance(checked.covariance, len(priced.totals), where),
            residual_std=checked.residual_std,
            seen=tuple(bool(price.networks) for price in prices),
            measured_blocks=frozenset(checked.blocks.measured),
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

    def as_transferred(self, features: Array, block: str) -> Array:
        """Return the features (n, J) as they are: the prices' covariance says how sure they are."""
        return features

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return the totals (J,), which add up over operators."""
        return self.feature_set.features(operators)

    def priced_totals(self, networks: Sequence[Sequence[Operator]]) -> PricedTotals:
        """Return the totals of networks, each given as its operators."""
        return network_totals(self.feature_set, networks)

    def moved_card(self, operators: Sequence[Operator], blocks: Collection[str]) -> dict[str, Any]:
        """Return the card for a device on which other networks were measured.

        Args:
            operators: of all networks measured there.
            blocks: their block types.
        """
        card = copy.deepcopy(dict(self.card))
        return card | {"blocks": moved_levels(card.get("blocks", {}), blocks)}

    def evaluate(self, features: Array) -> tuple[Array, Array]:
        """Return mean and standard deviation in ms of networks' log-normal latencies.

        The deviation grows as costs lie where the measured networks had few.

        Args:
            features: shape (n, J).

        Returns:
            Two arrays of shape (n,).
        """
        median, variance = self._log_normal(features)
        mean = median * np.exp(variance / 2)
        return mean, mean * np.sqrt(np.expm1(variance))

    def attribute(self, features: Array) -> Array:
        """Return what the parts (n, J) of one network add to its mean in ms, (n,)."""
        whole = features.sum(axis=0)
        _, variance = self._log_normal(whole[None])
        totals = self.feature_set.of_network(features, whole)
        return np.asarray(totals[:, 1:] @ self.price[1:] * np.exp(variance / 2))

    def mark(self, operators: Sequence[Operator]) -> str:
        """Return `fitted`, or `estimated` where a price is nothing but the prior's."""
        if any(o.kind == "other" for o in operators):
            return "estimated"
        used = self.feature_set.features(operators) > 0
        unseen = bool((used & ~np.asarray(self.seen)).any())
        return "estimated" if unseen else "fitted"

    def _log_normal(self, features: Array) -> tuple[Array, Array]:
        """Return medians in ms and variances of logarithms, (n,) each."""
        costs = self.feature_set.of_network(features) * self.price
        costs[:, 0] = self.price[0]
        median = costs.sum(axis=1)
        shares = costs / median[:, None]
        leverage = ((shares @ self.covariance) * shares).sum(axis=1)
        return median, self.residual_std**2 + leverage


def read_table(card: Mapping[str, Any], path: Path, load_model: LoadModel) -> CalibratedTable:
    """Return the table of a card; its kind's reader in the registry.

    Raises:
        UserError: names the file and the field that is wrong.
    """
    return CalibratedTable.from_card(card, load_model, path)
