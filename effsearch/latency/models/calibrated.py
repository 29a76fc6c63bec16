"""Tables calibrated from a device's total latencies: few networks, strong but honest prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.latency.catalogue import read_card
from effsearch.latency.cost_model import Array, MeasuredThroughout
from effsearch.latency.models.feature_sets import BASE, Form, form
from effsearch.latency.models.fitted import CardCheck
from searchspace.errors import UserError
from searchspace.operators import Operator

FORMAT = 1
_TEXTS = (
    "name", "device", "os", "runtime", "compute_unit", "precision", "date", "kind", "totals",
)  # fmt: skip


@dataclass(frozen=True)
class CalibratedTable(MeasuredThroughout):
    """Prices of one device, from networks measured whole.

    Attributes:
        form: what operators are charged for.
        price: milliseconds for a unit of each of the form's totals, (J,); all positive.
        covariance: of the prices' logarithms, (J, J).
        residual_std: of log latencies of networks left out, beyond what prices explain.
        seen: whether a measured network was charged for each total, (J,).
        card: the table's file as read.
    """

    form: Form
    price: Array
    covariance: Array
    residual_std: float
    seen: tuple[bool, ...]
    card: Mapping[str, Any] = field(repr=False)

    @classmethod
    def load(cls, path: str | Path) -> CalibratedTable:
        """Read a table's JSON file.

        Raises:
            UserError: where the file is missing, broken, or of a newer format; names the field.
        """
        return cls.from_card(read_card(Path(path)), str(path))

    @classmethod
    def from_card(cls, card: Mapping[str, Any], source: str = "table") -> CalibratedTable:
        """Check what a table's file holds and return the table.

        Raises:
            UserError: names the file and the field that is wrong.
        """
        check = CardCheck(source)
        version = card.get("format")
        check.that(isinstance(version, int) and version >= 1, "format", "must be a version number")
        check.that(
            version <= FORMAT, "format",  # type: ignore[operator]
            f"is {version}, newer than {FORMAT}, the newest that this version reads; update",
        )  # fmt: skip
        for key in _TEXTS:
            check.that(isinstance(card.get(key), str), key, "must be text")
        check.that(card["kind"] == "fitted", "kind", "must be 'fitted'")
        if card["totals"] == f"{BASE}{card['name']}":
            raise UserError(f"{source}: totals: this table stands on itself")
        try:
            charged = form(card["totals"])
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        prices = card.get("prices")
        check.that(isinstance(prices, list), "prices", "must be a list")
        by_name: dict[str, float] = {}
        seen: dict[str, bool] = {}
        for i, entry in enumerate(prices):  # type: ignore[arg-type]
            where = f"prices[{i}]"
            check.that(isinstance(entry, dict), where, "must be an object")
            known = entry.get("total") in charged.totals
            check.that(known, f"{where}.total", f"must be one of {', '.join(charged.totals)}")
            by_name[entry["total"]] = check.positive(entry, "ms", where)
            count = entry.get("networks")
            check.that(
                isinstance(count, int) and count >= 0, f"{where}.networks", "must be a count"
            )
            seen[entry["total"]] = bool(count)
        missing = [name for name in charged.totals if name not in by_name]
        check.that(not missing, "prices", f"lacks {', '.join(missing)}")
        return cls(
            form=charged,
            price=np.array([by_name[name] for name in charged.totals]),
            covariance=check.covariance(card, "covariance", len(charged.totals)),
            residual_std=check.positive(card, "residual_std", ""),
            seen=tuple(seen[name] for name in charged.totals),
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
        """Return the form's totals (J,), which add up over operators."""
        return self.form.features(operators)

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
        charged = self.form.of_network(features, whole)
        return np.asarray(charged[:, 1:] @ self.price[1:] * np.exp(variance / 2))

    def mark(self, operators: Sequence[Operator]) -> str:
        """Return `fitted`, or `estimated` where a price is nothing but the prior's."""
        if any(o.kind == "other" for o in operators):
            return "estimated"
        charged = self.form.features(operators) > 0
        unseen = bool((charged & ~np.asarray(self.seen)).any())
        return "estimated" if unseen else "fitted"

    def _log_normal(self, features: Array) -> tuple[Array, Array]:
        """Return medians in ms and variances of logarithms, (n,) each."""
        costs = self.form.of_network(features) * self.price
        costs[:, 0] = self.price[0]
        median = costs.sum(axis=1)
        shares = costs / median[:, None]
        leverage = ((shares @ self.covariance) * shares).sum(axis=1)
        return median, self.residual_std**2 + leverage
