"""What a source of labelled images offers the trainer, and the checks that all of them pass."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from searchspace.errors import UserError

BAD_FRACTION_MAX = 0.01
_NAMED = 3


class ImageReader(ABC):
    """One split of labelled images.

    Several threads may read at once. A reader can be pickled, to read in other processes.

    Args:
        root: where the images are.
        split: `train` or `val`.

    Attributes:
        root: where the images are.
        split: `train` or `val`.
        classes: class names in the order of their labels.
        labels: label of each image, an index into `classes`.
        skipped: what was found beside the images and is none, by name.

    Raises:
        UserError: the images cannot be listed.
    """

    classes: tuple[str, ...]
    labels: tuple[int, ...]
    skipped: tuple[str, ...] = ()

    def __init__(self, root: Path, split: str) -> None:
        self.root, self.split = root, split

    @classmethod
    @abstractmethod
    def accepts(cls, root: Path) -> bool:
        """Say whether what lies at a path, which exists, is of this kind."""

    @abstractmethod
    def read(self, index: int) -> bytes:
        """Return one image as an encoded file: JPEG, PNG or another format that Pillow reads.

        Raises:
            OSError: it is gone or cannot be read.
        """

    @abstractmethod
    def name(self, index: int) -> str:
        """Return what an image is called in messages."""

    @abstractmethod
    def digest(self) -> str:
        """Return text for a file name, another one whenever place or images have changed."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def where(self) -> str:
        """What the split is called in messages."""
        return f"{self.root}/{self.split}"


def check_reader(reader: ImageReader) -> None:
    """Check that a network can be trained on a split.

    Raises:
        UserError: it has no images, less than two classes, a class without images or a label
            without class, or more than 1 % of what it found are no images.
    """
    if not len(reader):
        raise UserError(f"{reader.where} holds no images; it must hold CLASS/IMAGE files")
    check_bad_files(reader.skipped, len(reader) + len(reader.skipped), reader.where)
    check_labels(reader.labels, len(reader.classes))
    filled = set(reader.labels)
    empty = [name for label, name in enumerate(reader.classes) if label not in filled]
    if empty:
        raise UserError(f"{reader.where}: no images in class {some(empty)}; each class needs some")
    if len(reader.classes) < 2:
        only = reader.classes[0]
        raise UserError(f"{reader.where} has one class ('{only}'); training needs two or more")


def check_labels(labels: torch.Tensor | Sequence[int], num_classes: int) -> None:
    """Check that every label has an output of the network.

    Args:
        labels: integer labels, any shape.
        num_classes: outputs of the network.

    Raises:
        UserError: a label is below 0 or is `num_classes` or more.
    """
    values: npt.NDArray[np.int64] = np.asarray(labels, dtype=np.int64)
    if values.size and (values.min() < 0 or values.max() >= num_classes):
        bad = int(values.max()) if values.max() >= num_classes else int(values.min())
        raise UserError(
            f"label {bad} is out of range; a network of {num_classes} classes takes 0 to "
            f"{num_classes - 1}"
        )


def check_bad_files(bad: Sequence[str], total: int, where: str) -> None:
    """Refuse data in which more than 1 % of the files cannot be used.

    Args:
        bad: the unusable files.
        total: all files, those included.
        where: the data's place, for the message.

    Raises:
        UserError: more than 1 % are bad.
    """
    if len(bad) > BAD_FRACTION_MAX * total:
        raise UserError(
            f"{where}: {len(bad)} of {total} files are unreadable or no images "
            f"({some(bad)}); at most 1 % may be: remove or repair them"
        )


def describe_bad_files(bad: Sequence[str]) -> str:
    """Return one line that counts and names skipped files."""
    return f"skipped {len(bad)} unreadable or non-image file(s): {some(bad)}"


def some(items: Sequence[str]) -> str:
    """Return the first few of many names, and how many more there are."""
    shown = ", ".join(items[:_NAMED])
    return shown if len(items) <= _NAMED else f"{shown} and {len(items) - _NAMED} more"
