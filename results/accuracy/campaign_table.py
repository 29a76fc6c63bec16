"""The evidence table: one row a trained network, appended as each one ends."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any

from effsearch.files import LineLog
from searchspace.errors import UserError
from searchspace.resolution import Resolution, parse_resolution, resolution_text


@dataclass(frozen=True)
class Row:
    """A network, how it was trained and what it reached.

    Attributes:
        architecture: File name of the architecture's YAML, without its suffix.
        digest: The architecture's digest.
        seed: Seed of weights, order and augmentation.
        recipe: The recipe's name.
        recipe_digest: Its digest; rows compare only where it agrees.
        data: Name of the image tree and its numbers of training and validation images.
        epochs: Epochs trained.
        side_px: Side that the network was evaluated at.
        params_m: Parameters with the data set's head, in millions.
        macs_m: Multiply-accumulates at `side_px`, in millions.
        curve: `epoch:top-1` pairs, separated by spaces.
        top1: Last top-1 on the validation split in %.
        top5: Last top-5 in %.
        val_loss: Last mean cross-entropy on the validation split, in nats.
        train_loss: Mean loss of the last epoch on augmented images.
        seconds: Wall time of its training, other networks running beside it.
        device: What it ran on.
        note: `diverged` where the loss became NaN.
    """

    architecture: str
    digest: str
    seed: int
    recipe: str
    recipe_digest: str
    data: str
    epochs: int
    side_px: Resolution
    params_m: float
    macs_m: float
    curve: str
    top1: float
    top5: float
    val_loss: float
    train_loss: float
    seconds: float
    device: str
    note: str = ""

    @property
    def key(self) -> tuple[str, int, str]:
        """What makes a row unique: architecture digest, seed and recipe digest."""
        return self.digest, self.seed, self.recipe_digest


_COLUMNS = [field.name for field in fields(Row)]


class Table:
    """A CSV file of rows that survives being stopped at any moment.

    Args:
        path: The file; it is made with its first row.

    Raises:
        UserError: The file exists and is not such a table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._log = LineLog(path)
        self._log.mend()
        self.rows = self._read()

    def keys(self) -> set[tuple[str, int, str]]:
        """Returns the keys of the rows at hand."""
        return {row.key for row in self.rows}

    def append(self, row: Row) -> None:
        """Writes one row to the disk before returning."""
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, lineterminator="\n")
        if not self.path.exists() or self.path.stat().st_size == 0:
            writer.writeheader()
        values = {
            key: f"{value:.6g}" if isinstance(value, float) else value
            for key, value in asdict(row).items()
        } | {"side_px": resolution_text(row.side_px)}
        writer.writerow(values)
        self._log.append(*text.getvalue().splitlines())
        self.rows.append(row)

    def _read(self) -> list[Row]:
        if not self.path.exists() or self.path.stat().st_size == 0:
            return []
        with self.path.open(newline="") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != _COLUMNS:
                raise UserError(
                    f"{self.path} is no evidence table of this version; "
                    f"its columns must be {', '.join(_COLUMNS)}"
                )
            try:
                return [_parse(values) for values in reader]
            except (TypeError, ValueError, UserError) as error:
                raise UserError(f"{self.path} holds a damaged row: {error}") from error


def _parse(values: dict[str, str]) -> Row:
    # Annotations are strings here, so a field's type is read by its name.
    kinds: dict[str, Callable[[str], Any]] = {
        "int": int,
        "float": float,
        "str": str,
        "Resolution": partial(parse_resolution, "side_px"),
    }
    return Row(**{field.name: kinds[str(field.type)](values[field.name]) for field in fields(Row)})
