"""The figures of every epoch: `epochs.csv` in the training's folder, and TensorBoard's files."""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from effsearch.files import atomic_write
from searchspace.errors import UserError

EPOCHS = "epochs.csv"
TENSORBOARD = "tensorboard"  # a folder beside it


@dataclass(frozen=True)
class EpochRow:
    """One epoch.

    Attributes:
        epoch: its number, from 1.
        loss: mean training loss in nats.
        top1: on the validation split, in %.
        top5: likewise.
        val_loss: mean cross-entropy there, in nats.
        learning_rate: of its last step, before layers' factors.
        seconds: training and evaluation.
        images_per_s: training images over these seconds, all processes together.
    """

    epoch: int
    loss: float
    top1: float
    top5: float
    val_loss: float
    learning_rate: float
    seconds: float
    images_per_s: float


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

    def add(self, row: EpochRow) -> None:
        """Write a row."""
        values = asdict(row)
        self._rows.append({name: f"{value:.10g}" for name, value in values.items()})
        with atomic_write(self._path, newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(EpochRow)])
            writer.writeheader()
            writer.writerows(self._rows)
        if self._board is not None:
            for name, value in values.items():
                if name != "epoch":
                    self._board.add_scalar(name, value, row.epoch)
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
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        rows = list(csv.DictReader(file))
    names = {field.name for field in fields(EpochRow)}
    return [row for row in rows if set(row) == names and str(row["epoch"]).isdigit()]
