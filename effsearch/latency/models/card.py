"""A table's card: the JSON in which a table says what it is, and the checks that all share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from effsearch.json_text import parse_json
from effsearch.latency.cost_model import Array, CostModel
from searchspace import Architecture
from searchspace.errors import UserError, short

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]

# Returns the cost model of another table, by that table's name.
LoadModel = Callable[[str], CostModel]


class CardPart(BaseModel):
    """An object of a card; what it has beyond the fields named is kept as it is."""

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class Blocks(CardPart):
    """Block types by what was measured of them.

    Attributes:
        measured: some network measured on this very device has them.
        transferred: only networks measured on related devices do.
    """

    measured: list[str] = []
    transferred: list[str] = []


class TableCard(CardPart):
    """What every table states."""

    name: str
    device: str
    os: str
    runtime: str
    precision: str
    date: str
    blocks: Blocks = Blocks()


class Price(CardPart):
    """What one unit of a total costs.

    Attributes:
        total: name of the total.
        ms: milliseconds.
        networks: how many measured networks have some of it.
    """

    total: str
    ms: Positive
    networks: Count = 0


def up_to(newest: int, oldest: int = 1) -> AfterValidator:
    """Return the check of a card's field `format`: a version that this program reads."""

    def check(version: int) -> int:
        if version > newest:
            raise ValueError(
                f"{version} is newer than {newest}, the newest that this version of effsearch "
                "reads; update effsearch"
            )
        if version < oldest:
            raise ValueError(
                f"{version} is of an earlier version, no longer read (now {newest}); make the "
                "table again"
            )
        return version

    return AfterValidator(check)


def read_card(path: Path) -> dict[str, Any]:
    """Return a table's file as data.

    Raises:
        UserError: where it is missing or not a JSON object.
    """
    try:
        card = parse_json(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read this table: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: broken table, not JSON ({error})") from None
    if not isinstance(card, dict):
        raise UserError(f"{path}: broken table, the file must be a JSON object")
    return card


def in_order(prices: Sequence[Price], totals: Sequence[str], where: str | Path) -> list[Price]:
    """Return a card's prices in the order of totals.

    Args:
        prices: as the card lists them.
        totals: names that each need a price.
        where: the card, for messages.

    Raises:
        UserError: where a price is of no known total, or one lacks.
    """
    for i, price in enumerate(prices):
        if price.total not in totals:
            raise UserError(
                f"{where}: prices[{i}].total: {short(price.total)} is not one of "
                f"{', '.join(totals)}"
            )
    by_total = {price.total: price for price in prices}
    missing = [name for name in totals if name not in by_total]
    if missing:
        raise UserError(f"{where}: prices: lacks {', '.join(missing)}")
    return [by_total[name] for name in totals]


def covariance(triangle: Sequence[Sequence[float]], size: int, where: str | Path) -> Array:
    """Return the covariance (size, size) whose lower triangle a card holds.

    Args:
        triangle: rows of the lower triangle, as the card has them.
        size: rows and columns wanted.
        where: the card, for messages.

    Raises:
        UserError: where it is not one.
    """
    matrix = np.zeros((size, size))
    good = [len(row) for row in triangle] == list(range(1, size + 1))
    if good:
        for i, row in enumerate(triangle):
            matrix[i, : i + 1] = row
        matrix = matrix + np.tril(matrix, -1).T
        good = bool(np.isfinite(matrix).all()) and bool(np.linalg.eigvalsh(matrix).min() > -1e-6)
    if not good:
        raise UserError(
            f"{where}: covariance: is not the lower triangle of a {size} by {size} covariance"
        )
    return matrix


def moved_levels(levels: Mapping[str, Sequence[str]], found: Collection[str]) -> dict[str, Any]:
    """Return what was measured of block types, or of traits, for a table moved to another device.

    Args:
        levels: the other device's: names `measured` on it, `transferred` to it, `estimated`.
        found: names that networks measured on the new device have.
    """
    known = {*levels.get("measured", ()), *levels.get("transferred", ())}
    return {
        "measured": sorted(found),
        "transferred": sorted(known - set(found)),
        "estimated": sorted(set(levels.get("estimated", ())) - set(found)),
    }


def block_types(architecture: Architecture) -> frozenset[str]:
    """Return the types of an architecture's blocks."""
    return frozenset(block.type for stage in architecture.stages for block in stage.blocks)
