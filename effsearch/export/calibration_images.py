"""The images that quantisation looks at: some to take ranges from, others to judge by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from effsearch.export.int8 import Floats
from effsearch.training.data.augment import prepare
from effsearch.training.data.pixels import PixelSource
from effsearch.training.data.readers import create_readers
from searchspace.resolution import Resolution, height_width

_MARGIN = 8 / 7  # what is decoded over what evaluation keeps of it
_BATCH = 50


class CalibrationImages:
    """Training images for ranges and validation images to judge by, as a network takes them.

    Args:
        data: ImageFolder tree, a zip archive of one, or what an installed reader accepts.
        side: of the network's input in px, or its height and width.
        source_side: of the decoded images; a margin more than `side` where None.

    Raises:
        UserError: where there are no such images.
    """

    def __init__(self, data: Path, side: Resolution, source_side: Resolution | None = None) -> None:
        height, width = height_width(side)
        decoded = source_side or (round(height * _MARGIN), round(width * _MARGIN))
        cpu = torch.device("cpu")
        train, val = create_readers(data)
        self.classes = train.classes
        self._side = side
        self._train = PixelSource(train, decoded, cpu, workers=0, resident=False)
        self._val = PixelSource(val, decoded, cpu, workers=0, resident=False)

    def count_for_ranges(self, most: int) -> int:
        """Return how many images there are for ranges, where `most` are wanted."""
        return min(most, len(self._train))

    def for_ranges(self, count: int, seed: int = 0) -> Iterator[Floats]:
        """Yield training images, (1, 3, H, W) each, drawn by a seed."""
        drawn = torch.randperm(len(self._train), generator=torch.Generator().manual_seed(seed))
        for images, _ in self._train.batches(drawn[:count], 1):
            yield prepare(images, self._side).numpy()

    def for_judging(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield batches of validation images (B, 3, H, W), evenly spread, and labels (B,)."""
        total = len(self._val)
        rows = torch.arange(min(count, total)) * total // min(count, total)
        for images, labels in self._val.batches(rows, _BATCH):
            yield prepare(images, self._side), labels
