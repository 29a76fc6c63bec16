"""`Limits`: what a candidate may cost, on one device or several."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from effsearch.latency.catalogue import table_name
from effsearch.search.candidates import Outcome, latency_on
from searchspace import UserError


@dataclass(frozen=True)
class OtherDevice:
    """A further device of a search.

    Attributes:
        device: name of a latency table, or a path to one.
        budget_ms: latency that must not be exceeded there; None where it is only reported.

    Raises:
        UserError: on construction, where the budget is no positive number.
    """

    device: str
    budget_ms: float | None = None

    def __post_init__(self) -> None:
        if self.budget_ms is not None and not (
            math.isfinite(self.budget_ms) and self.budget_ms > 0
        ):
            raise UserError(
                f"--also: {self.budget_ms} is not a positive number of milliseconds for "
                f"{self.device}"
            )

    def __str__(self) -> str:
        return self.name if self.budget_ms is None else f"{self.name}={self.budget_ms:g}"

    @property
    def name(self) -> str:
        """The table's name."""
        return table_name(self.device)

    @classmethod
    def read(cls, text: str) -> OtherDevice:
        """Return what DEVICE=MS says.

        Raises:
            UserError: where it is none.
        """
        device, sign, budget = text.rpartition("=")
        try:
            if not (sign and device.strip()):
                raise ValueError
            return cls(device.strip(), float(budget))
        except ValueError:
            raise UserError(f"--also: {text!r} is not DEVICE=MS, such as iphone13=2.5") from None


@dataclass(frozen=True)
class Limits:
    """The limits of a search; None for those that were not set.

    Attributes:
        budget_ms: latency, held against the quantile at the confidence asked for.
        max_params_m: parameters, in millions.
        max_macs_m: multiply-accumulates, in millions.
        max_memory_mb: activations that are alive at once, in millions of bytes.
        max_size_mb: weights, in millions of bytes.
        also: names of other devices, each with the budget for it in ms.
    """

    budget_ms: float
    max_params_m: float | None = None
    max_macs_m: float | None = None
    max_memory_mb: float | None = None
    max_size_mb: float | None = None
    also: tuple[tuple[str, float], ...] = ()

    @property
    def most(self) -> dict[str, float]:
        """The highest cost allowed, for each that is limited; named as in `Outcome.costs`."""
        millions = {
            "params": self.max_params_m,
            "macs": self.max_macs_m,
            "memory": self.max_memory_mb,
            "size": self.max_size_mb,
        }
        return {
            "latency": self.budget_ms,
            **{latency_on(device): budget_ms for device, budget_ms in self.also},
            **{name: 1e6 * limit for name, limit in millions.items() if limit is not None},
        }

    def excess(self, outcome: Outcome) -> dict[str, float]:
        """Return by which fraction an outcome exceeds each limit that was set."""
        return self.excess_of(outcome.costs)

    def excess_of(self, costs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the same of costs by name, which may be arrays of many networks' (n,)."""
        return {name: costs[name] / most - 1 for name, most in self.most.items()}
