"""The kinds of tables, by the name that a table's card states as its `model`.

An installed package adds a kind with an entry point of the group `effsearch.tables`: its name is
what cards state, its object a function of the type `ReadTable`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from effsearch.latency.catalogue import table_path
from effsearch.latency.cost_model import CostModel
from effsearch.latency.models import calibrated, fitted, measured_file
from effsearch.latency.models.card import LoadModel, read_card
from searchspace import UserError
from searchspace.errors import short
from searchspace.extensions import installed

GROUP = "effsearch.tables"

# (card, its file, loader of other tables' models) to the table's cost model.
ReadTable = Callable[[Mapping[str, Any], Path, LoadModel], CostModel]

_SHIPPED: dict[str, ReadTable] = {
    "calibrated": calibrated.read_table,
    "fitted": fitted.read_table,
    "measured": measured_file.read_table,
}


def table_kinds() -> dict[str, ReadTable]:
    """Return the reader of every kind of table, by name.

    Raises:
        UserError: where an installed package's kind cannot be imported.
    """
    return installed(GROUP) | _SHIPPED


def read_model(path: Path, above: tuple[Path, ...] = ()) -> CostModel:
    """Return the cost model in a table's file, of the kind that its card states.

    Args:
        path: the file.
        above: files of the tables that stand on this one.

    Raises:
        UserError: where the file is missing, broken, of a newer version, or stands on itself by
            way of others; names the field.
    """
    if path in above:
        raise UserError(f"{path}: this table stands on itself, by way of {above[-1].name}")
    card = read_card(path)
    name = card.get("model", _model_before_the_field(card))
    kinds = table_kinds()
    if not isinstance(name, str) or name not in kinds:
        raise UserError(f"{path}: model: {short(name)} is not one of {', '.join(sorted(kinds))}")
    return kinds[name](card, path, lambda base: read_model(table_path(base), (*above, path)))


def load_model(name: str | Path) -> CostModel:
    """Return the cost model of a table by its name or file.

    Raises:
        UserError: where there is none of that name, or its file is broken.
    """
    return read_model(table_path(name))


def _model_before_the_field(card: Mapping[str, Any]) -> str:
    """Return what a card written before cards stated their model is of."""
    if card.get("kind") == "measured":
        return "measured"
    return "calibrated" if "totals" in card else "fitted"
