"""Pixels of images with masks: all in two tensors where that fits, streamed where it does not."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from effsearch.training.data.masks import IGNORED, MaskReader
from effsearch.training.data.pixels import RESIDENT_BYTES_MAX
from searchspace.errors import UserError
from searchspace.resolution import Resolution, height_width


class MaskSource:
    """Batches of a split with masks; all masks are checked before the first.

    Args:
        reader: the split.
        side: that images and masks are fitted into, in px, or height and width.
        device: where the batches go.
        workers: decoding processes when the split is streamed.
        resident: whether to keep all pixels on the device; None decides by size.

    Raises:
        UserError: an image or mask cannot be used, or the masks hold fewer than two classes.
    """

    def __init__(
        self,
        reader: MaskReader,
        side: Resolution,
        device: torch.device,
        workers: int = 4,
        resident: bool | None = None,
    ) -> None:
        self._reader, self._side, self._device, self._workers = reader, side, device, workers
        size = height_width(side)
        if resident is None:
            resident = len(reader) * 4 * math.prod(size) <= RESIDENT_BYTES_MAX
        self._images = np.empty((len(reader) if resident else 0, 3, *size), np.uint8)
        self._masks = np.empty((len(reader) if resident else 0, *size), np.uint8)
        self._check(self._decode_all(resident))
        self._resident: tuple[Tensor, Tensor] | None = None
        if resident:
            tensors = torch.from_numpy(self._images), torch.from_numpy(self._masks)
            self._resident = (tensors[0].to(device), tensors[1].to(device))

    def _decode_all(self, keep: bool) -> set[int]:
        """Decode every mask, and every image to keep; returns the class numbers found."""
        reader = self._reader

        def decode(index: int) -> set[int]:
            mask = reader.mask(index, self._side)
            if keep:
                self._images[index] = reader.image(index, self._side)
                self._masks[index] = mask
            return set(np.unique(mask).tolist())

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return set().union(*pool.map(decode, range(len(reader)))) - {IGNORED}

    def _check(self, found: set[int]) -> None:
        if len(found) < 2:
            names = [self._reader.classes[number] for number in found]
            held = f"one class only ('{names[0]}')" if names else "no class at all"
            raise UserError(
                f"{self._reader.where}: the masks hold {held}; segmentation needs two or more"
            )

    def __len__(self) -> int:
        return len(self._reader)

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (uint8 (B, 3, H, W), uint8 masks (B, H, W)) in the given order of image indices.

        Raises:
            UserError: an image or mask cannot be read any more.
        """
        if self._resident is not None:
            images, masks = self._resident
            for at in torch.split(order.to(self._device), batch_size):
                yield images[at], masks[at]
            return
        loader: DataLoader[tuple[Tensor, Tensor]] = DataLoader(
            _Stream(self._reader, self._side),
            batch_sampler=[rows.tolist() for rows in torch.split(order, batch_size)],
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
        )
        try:
            for some_images, some_masks in loader:
                yield (
                    some_images.to(self._device, non_blocking=True),
                    some_masks.to(self._device, non_blocking=True),
                )
        except UserError:
            # A worker's error comes with its traceback.
            raise UserError(
                f"{self._reader.where}: an image or mask changed or cannot be read any more"
            ) from None


class _Stream(Dataset[tuple[Tensor, Tensor]]):
    def __init__(self, reader: MaskReader, side: Resolution) -> None:
        self._reader, self._side = reader, side

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = self._reader.image(index, self._side)
        return torch.from_numpy(image), torch.from_numpy(self._reader.mask(index, self._side))
