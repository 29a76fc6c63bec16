"""Where tables are: those shipped in the package and those a person installed."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

from effsearch.latency.cost_model import CostModel
from effsearch.latency.table import DeviceTable
from searchspace import UserError

SHIPPED = Path(__file__).parent / "devices"


def user_folder() -> Path:
    """Return the folder of a person's own tables: `$EFFSEARCH_HOME/devices`, or the usual place."""
    home = os.environ.get("EFFSEARCH_HOME")
    if home:
        return Path(home) / "devices"
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "effsearch" / "devices"


def table_paths() -> dict[str, Path]:
    """Return the file of every known table by name; a person's own stand before shipped ones."""
    paths: dict[str, Path] = {}
    for folder in (SHIPPED, user_folder()):
        if folder.is_dir():
            paths.update({path.stem: path for path in sorted(folder.glob("*.json"))})
    return dict(sorted(paths.items()))


def load_table(name: str | Path) -> DeviceTable:
    """Return a table by name or from a JSON file.

    Raises:
        UserError: where there is none of that name (says which there are, and the nearest), or its
            file is broken (names file and field).
    """
    text = str(name)
    paths = table_paths()
    if text in paths:
        return DeviceTable(text, read_model(paths[text]))
    if text.endswith(".json"):
        path = Path(text)
        return DeviceTable(path.stem, read_model(path))
    near = difflib.get_close_matches(text.lower(), paths, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise UserError(f"device {text!r} is unknown{hint} (known: {', '.join(paths) or 'none'})")


def read_model(path: Path) -> CostModel:
    """Return the cost model in a table's file, by the kind that it states.

    Raises:
        UserError: where the file is missing, broken, or of a newer version.
    """
    card = read_card(path)
    if card.get("kind") == "measured":
        from effsearch.latency.models.measured import MeasuredTable

        return MeasuredTable.load(path)
    if "totals" in card:
        from effsearch.latency.models.calibrated import CalibratedTable

        return CalibratedTable.from_card(card, str(path))
    from effsearch.latency.models.fitted import FittedTable

    return FittedTable.load(path)


def read_card(path: Path) -> dict[str, Any]:
    """Return a table's file as data.

    Raises:
        UserError: where it is missing or not a JSON object.
    """
    try:
        card = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot read this table: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"{path}: broken table, not JSON ({error})") from None
    if not isinstance(card, dict):
        raise UserError(f"{path}: broken table, the file must be a JSON object")
    return card
