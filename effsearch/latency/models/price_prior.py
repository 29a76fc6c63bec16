"""The prior of a device's prices: what is believed of them before any latency is seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from effsearch.latency.cost_model import Array
from effsearch.latency.models import processor_features as processor


@dataclass(frozen=True, slots=True)
class PricePrior:
    """Log-normal prices.

    Attributes:
        price: medians in ms for a unit of each total, (J,).
        covariance: of the prices' logarithms, (J, J).
    """

    price: Array
    covariance: Array


def structured(
    price: Array, names: tuple[str, ...], std: Array, group_std: dict[str, float], scale_std: float
) -> PricePrior:
    """Return a prior whose prices share the device's speed, and their group's within it.

    Args:
        price: medians, (J,).
        names: of the totals, `what.unit`; the unit is the group.
        std: own spread of each price, (J,).
        group_std: spread of each group.
        scale_std: spread of the device's speed.
    """
    groups = [name.rsplit(".", 1)[1] for name in names]
    covariance = np.diag(std**2) + scale_std**2
    for group, spread in group_std.items():
        member = np.array([g == group for g in groups], dtype=float)
        covariance += spread**2 * np.outer(member, member)
    return PricePrior(price, covariance)


def processor_prior() -> PricePrior:
    """Return the prior of any processor that runs a graph operator by operator."""
    card = processor.prior_card()
    totals = card["totals"]
    return structured(
        np.array([entry["ms"] for entry in totals.values()], dtype=float),
        tuple(totals),
        np.array([entry["std"] for entry in totals.values()], dtype=float),
        card["group_std"],
        card["scale_std"],
    )
