"""The figures of every epoch: `epochs.csv` in the training's folder, and TensorBoard's files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from effsearch.files import atomic_write
from searchspace.errors import UserError

EPOCHS = "epochs.csv"
TENSORBOARD = "tensorboard"  # a folder beside it


class EpochLog:
    """Writes the rows of a training; what a resumed one trains again replaces its earlier rows.

    Args:
        folder: the training's.
        done: epochs done before; rows after these go.
        tensorboard: whether TensorBoard's files are written too.
    """

    def __init__(self, folder: Path, done: int, tensorboard: bool) -> None:
        self._path = folder / EPOCHS
        self._rows = [row for row in _read(self._path) if int(row["epoch"]) <= done]
        self._board: Any = None
        if tensorboard:
            self._board = _writer_class()(str(folder / TENSORBOARD), purge_step=done + 1)

    def add(self, row: Mapping[str, float]) -> None:
        """Write a row.

        Args:
            row: the number of the `epoch`, from 1, and its figures by name: the mean training
                `loss`, what the task evaluates, `learning_rate` (of the last step, before layers'
                factors), `seconds` (training and evaluation), and `images_per_s` over these, all
                processes together.
        """
        self._rows = [held for held in self._rows if held.keys() == row.keys()]
        self._rows.append({name: f"{value:.10g}" for name, value in row.items()})
        with atomic_write(self._path, newline="") as file:
            writer = csv.DictWriter(file, list(row))
            writer.writeheader()
            writer.writerows(self._rows)
        if self._board is not None:
            for name, value in row.items():
                if name != "epoch":
                    self._board.add_scalar(name, value, int(row["epoch"]))
            self._board.flush()


def check_tensorboard() -> None:
    """Check that TensorBoard's files can be written.

    Raises:
        UserError: where its package is not installed.
    """
    _writer_class()


def _writer_class() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise UserError(
            "--tensorboard: needs tensorboard; install it with `pip install effsearch[tensorboard]`"
        ) from None
    return SummaryWriter


def _read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a log; none where there is no such file, or one of another program."""
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.DictReader(file))
    except csv.Error:
        return []
    return [row for row in rows if str(row.get("epoch")).isdecimal()]
