"""Tables fitted to whole networks' latencies: prices that add up over operators, with their error.

A table knows nothing of architectures. It prices any operators; what it returns for parts of a
network adds up to what it returns for the whole, but for the cost of a run, which comes once.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effsearch.latency.models.accelerator_features import (
    FEATURES,
    Hardware,
    charges,
    features,
    trait,
)
from searchspace.errors import UserError
from searchspace.operators import Operator

FORMAT = 1
RUN = "run.count"  # the fixed cost of a run, charged once a network
PRICED = (RUN, *(name for name in FEATURES if name != "floor.ms"))

Array = NDArray[np.float64]

_TEXTS = (
    "name",
    "device",
    "os",
    "runtime",
    "compute_unit",
    "precision",
    "date",
    "kind",
)


@dataclass(frozen=True)
class FittedTable:
    """Prices of one device.

    Attributes:
        name: of the table.
        price: milliseconds for a unit of each of `PRICED`; all positive.
        covariance: of the prices' logarithms.
        hardware: what operators are charged against; sets the floor.
        residual_std: of log latencies of networks that the fit has not seen, beyond what the
            prices' uncertainty explains.
        transferred_std: what is added for the share of a network whose operators were measured on
            related phones only.
        measured_traits: unusual operators (see `features.trait`) that a network measured on this
            very device has.
        transferred_traits: those that only networks measured on related devices have. Prices of
            operators with any other trait are nothing but the prior's.
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
    card: Mapping[str, Any] = field(repr=False)

    @classmethod
    def load(cls, path: str | Path) -> FittedTable:
        """Read a table's JSON file.

        Raises:
            UserError: where the file is missing, broken, or of a newer format.
        """
        path = Path(path)
        try:
            card = json.loads(path.read_text("utf-8"))
        except OSError:
            raise UserError(f"{path}: no such table") from None
        except ValueError as error:
            raise UserError(f"{path}: not a table ({error})") from None
        return cls.from_card(card, str(path))

    @classmethod
    def from_card(cls, card: Any, source: str = "table") -> FittedTable:
        """Check what a table's file holds and return the table.

        Raises:
            UserError: names the file and the field that is wrong.
        """
        check = CardCheck(source)
        check.that(isinstance(card, dict), "the file", "must be an object")
        version = card.get("format")
        check.that(isinstance(version, int) and version >= 1, "format", "must be a version number")
        check.that(
            version <= FORMAT,
            "format",
            f"is {version}, newer than {FORMAT}, the newest that this version reads; update",
        )
        for key in _TEXTS:
            check.that(isinstance(card.get(key), str), key, "must be text")
        check.that(card["kind"] == "fitted", "kind", "must be 'fitted'")
        hardware, traits = check.object(card, "hardware"), check.object(card, "traits")
        prices = card.get("prices")
        check.that(isinstance(prices, list), "prices", "must be a list")
        by_name: dict[str, float] = {}
        for i, entry in enumerate(prices):
            where = f"prices[{i}]"
            check.that(isinstance(entry, dict), where, "must be an object")
            known = entry.get("total") in PRICED
            check.that(known, f"{where}.total", f"must be one of {', '.join(PRICED)}")
            by_name[entry["total"]] = check.positive(entry, "ms", where)
        missing = [name for name in PRICED if name not in by_name]
        check.that(not missing, "prices", f"lacks {', '.join(missing)}")
        return cls(
            name=card["name"],
            price=np.array([by_name[name] for name in PRICED]),
            covariance=check.covariance(card, "covariance", len(PRICED)),
            hardware=Hardware(
                peak_gmacs_per_ms=check.positive(hardware, "peak_gmacs_per_ms", "hardware"),
                weight_mb_per_ms=check.positive(hardware, "weight_mb_per_ms", "hardware"),
                on_chip_mb=check.positive(hardware, "on_chip_mb", "hardware"),
                source=str(hardware.get("source", "")),
            ),
            residual_std=check.positive(card, "residual_std", ""),
            transferred_std=check.positive(card, "transferred_std", ""),
            measured_traits=frozenset(check.texts(traits, "measured")),
            transferred_traits=frozenset(check.texts(traits, "transferred")),
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

    @property
    def overhead_ms(self) -> float:
        """The fixed cost of a run."""
        return float(self.price[0])

    def features(self, operators: Sequence[Operator]) -> Array:
        """Return what operators are charged for; adds up over parts of a network.

        Args:
            operators: form "deploy".

        Returns:
            The totals of `FEATURES`, then the ms in operators whose prices are transferred: shape
            (len(FEATURES) + 1,).
        """
        totals = features(operators, self.hardware)
        foreign = [o for o in operators if self._is_transferred(o)]
        return np.append(totals, self.operator_ms(foreign).sum() if foreign else 0.0)

    def as_transferred(self, features: Array) -> Array:
        """Return a part's features with all of its ms taken for transferred; (d,) to (d,)."""
        changed = features.copy()
        changed[-1] = self._parts_ms(features[None])[0]
        return changed

    @property
    def transferred_blocks(self) -> frozenset[str]:
        """Block types without a measured network on this very device."""
        return frozenset(self.card.get("blocks", {}).get("transferred", ()))

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
        prices = dict(zip(PRICED, self.price.tolist(), strict=True)) | {"floor.ms": 1.0}
        return np.array(
            [sum(prices[n] * amount for n, amount in charges(o, self.hardware)) for o in operators]
        )

    def floor_ms(self, operators: Sequence[Operator]) -> Array:
        """Return what the hardware needs at least for each operator, shape (len(operators),)."""
        return np.array([dict(charges(o, self.hardware))["floor.ms"] for o in operators])

    def _is_transferred(self, operator: Operator) -> bool:
        unusual = trait(operator)
        return bool(unusual) and unusual not in self.measured_traits

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


class CardCheck:
    """Complaints about a file, each naming it and the field."""

    def __init__(self, source: str) -> None:
        self.source = source

    def that(self, condition: bool, name: str, complaint: str) -> None:
        """Raise a `UserError` that names file and field unless a condition holds."""
        if not condition:
            raise UserError(f"{self.source}: {name} {complaint}")

    def object(self, card: Mapping[str, Any], key: str) -> dict[str, Any]:
        """Return a field that is an object."""
        found = card.get(key)
        self.that(isinstance(found, dict), key, "must be an object")
        return dict(found or {})

    def texts(self, card: Mapping[str, Any], key: str) -> list[str]:
        """Return a field that is a list of names."""
        found = card.get(key)
        self.that(
            isinstance(found, list) and all(isinstance(x, str) for x in found),
            key,
            "must be a list of names",
        )
        return list(found or [])

    def positive(self, card: Mapping[str, Any], key: str, where: str) -> float:
        """Return a field that is a positive number."""
        name = f"{where}.{key}" if where else key
        value = card.get(key)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        self.that(
            good and math.isfinite(value) and value > 0,  # type: ignore[arg-type,operator]
            name,
            f"must be a positive number, not {value!r}",
        )
        return float(value)  # type: ignore[arg-type]

    def covariance(self, card: Mapping[str, Any], key: str, size: int) -> Array:
        """Return the covariance (size, size) whose lower triangle a field holds."""
        try:
            lower = card[key]
            matrix = np.zeros((size, size))
            for i, row in enumerate(lower):
                matrix[i, : i + 1] = row
            matrix = matrix + np.tril(matrix, -1).T
            good = len(lower) == size and bool(np.isfinite(matrix).all())
            good = good and bool(np.linalg.eigvalsh(matrix).min() > -1e-6)
        except (KeyError, TypeError, ValueError, IndexError):
            good = False
        self.that(good, key, f"must be the lower triangle of a {size} by {size} covariance")
        return matrix
