"""Pixels of a split: all in one tensor where that fits, streamed where it does not."""

from __future__ import annotations

import io
import json
import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from effsearch.files import atomic_write, atomic_write_text
from effsearch.json_text import parse_json
from effsearch.messages import say
from effsearch.training.data.reader import ImageReader, check_bad_files, describe_bad_files
from searchspace.resolution import Resolution, height_width, resolution_text

RESIDENT_BYTES_MAX = 4 << 30
UNREADABLE = (
    OSError,
    UnidentifiedImageError,
    ValueError,
    SyntaxError,
    Image.DecompressionBombError,
)


@dataclass(frozen=True)
class Pixels:
    """A split in memory.

    Attributes:
        images: uint8, (N, 3, H, W), RGB.
        labels: int64, (N,).
        classes: class names in the order of their labels.
        skipped: files that could not be read.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def to(self, device: torch.device) -> Pixels:
        """Return the split on a device."""
        return Pixels(self.images.to(device), self.labels.to(device), self.classes, self.skipped)


def cache_dir() -> Path:
    """Return the folder of decoded images: `$EFFSEARCH_CACHE` or the user's cache folder."""
    chosen = os.environ.get("EFFSEARCH_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "effsearch"


def decode_image(data: bytes, side: Resolution) -> npt.NDArray[np.uint8]:
    """Decode one image file to RGB: its centre of the wanted proportions, resized.

    Returns:
        (3, H, W), uint8.

    Raises:
        OSError: the bytes are no image, or a damaged one (other PIL errors may come too).
    """
    tall, wide = height_width(side)
    with Image.open(io.BytesIO(data)) as opened:
        # JPEG decoders can shrink by powers of two while decoding, which saves most of the work.
        opened.draft("RGB", (wide, tall))
        image = opened.convert("RGB")
    width, height = image.size
    if (width, height) != (wide, tall):
        across, down = min(width, height * wide / tall), min(height, width * tall / wide)
        left, top = (width - across) / 2, (height - down) / 2
        box = (left, top, left + across, top + down)
        image = image.resize((wide, tall), Image.Resampling.BILINEAR, box=box)
    return np.ascontiguousarray(np.asarray(image, dtype=np.uint8).transpose(2, 0, 1))


def fits_in_memory(reader: ImageReader, side: Resolution) -> bool:
    """Say whether a decoded split is small enough to be kept as one tensor (4 GiB)."""
    return len(reader) * 3 * math.prod(height_width(side)) <= RESIDENT_BYTES_MAX


def load(reader: ImageReader, side: Resolution) -> Pixels:
    """Decode a whole split, or read it from the cache of decoded splits.

    Unreadable files are skipped, counted and named on stderr.

    Args:
        reader: the split.
        side: of the decoded images in px, or their height and width.

    Raises:
        UserError: more than 1 % of the files cannot be decoded.
    """
    stem = cache_dir() / f"pixels-{reader.digest()}-{resolution_text(side)}"
    cached = _read_cache(stem, side)
    if cached is not None:
        array, labels, skipped = cached
    else:
        array, labels, skipped = _decode_all(reader, side, os.cpu_count() or 1)
        _write_cache(stem, array, labels, skipped)
    if skipped or reader.skipped:
        say(describe_bad_files([*reader.skipped, *skipped]))
    return Pixels(
        torch.from_numpy(array),
        torch.tensor(labels, dtype=torch.int64),
        reader.classes,
        tuple(skipped),
    )


def _decode_all(
    reader: ImageReader, side: Resolution, threads: int
) -> tuple[npt.NDArray[np.uint8], list[int], list[str]]:
    array = np.empty((len(reader), 3, *height_width(side)), dtype=np.uint8)
    chunks = [range(start, len(reader), threads) for start in range(min(threads, len(reader)))]

    def decode(chunk: range) -> list[int]:
        bad = []
        for index in chunk:
            try:
                array[index] = decode_image(reader.read(index), side)
            except UNREADABLE:
                bad.append(index)
        return bad

    with ThreadPoolExecutor(threads) as pool:
        bad = sorted(index for found in pool.map(decode, chunks) for index in found)
    skipped = [reader.name(index) for index in bad]
    total = len(reader) + len(reader.skipped)
    check_bad_files([*reader.skipped, *skipped], total, reader.where)
    labels = list(reader.labels)
    if bad:
        array = np.delete(array, bad, axis=0)
        labels = np.delete(np.asarray(labels), bad).tolist()
    return array, labels, skipped


def _read_cache(
    stem: Path, side: Resolution
) -> tuple[npt.NDArray[np.uint8], list[int], list[str]] | None:
    """Returns a decoded split; None where there is none, or a damaged one."""
    try:
        index = parse_json(stem.with_suffix(".json").read_text("utf-8"))
        labels, skipped = index["labels"], index["skipped"]
        array = np.load(stem.with_suffix(".npy"), allow_pickle=False)
        whole = array.shape == (len(labels), 3, *height_width(side)) and array.dtype == np.uint8
    except (OSError, ValueError, KeyError, TypeError, EOFError, AttributeError):
        return None
    return (array, labels, skipped) if whole else None


def _write_cache(
    stem: Path, array: npt.NDArray[np.uint8], labels: list[int], skipped: list[str]
) -> None:
    try:
        with atomic_write(stem.with_suffix(".npy"), "wb") as file:
            np.save(file, array)
        # The index comes last: with it there, the pixels are complete.
        index = json.dumps({"skipped": skipped, "labels": labels})
        atomic_write_text(stem.with_suffix(".json"), index)
    except OSError as error:
        say(f"decoded images are not cached: {error}")


class StreamDataset(Dataset[tuple[Tensor, int]]):
    """Decodes images on demand; label -1 stands for a file that could not be read."""

    def __init__(self, reader: ImageReader, side: Resolution) -> None:
        self._reader = reader
        self._side = side

    def __len__(self) -> int:
        return len(self._reader)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Return (uint8 (3, S, S), label)."""
        try:
            pixels = decode_image(self._reader.read(index), self._side)
            return torch.from_numpy(pixels), self._reader.labels[index]
        except UNREADABLE:
            return torch.zeros(3, *height_width(self._side), dtype=torch.uint8), -1


class PixelSource:
    """Batches of a split in any order, from memory or streamed from the files.

    Args:
        reader: the split.
        side: of the decoded images in px, or their height and width.
        device: where the batches go.
        workers: decoding processes when the split is streamed.
        resident: whether to keep all pixels on the device; None decides by size.
    """

    def __init__(
        self,
        reader: ImageReader,
        side: Resolution,
        device: torch.device,
        workers: int = 4,
        resident: bool | None = None,
    ) -> None:
        self.reader = reader
        self._side = side
        self._device = device
        self._workers = workers
        self._bad: set[int] = set()
        self.pixels: Pixels | None = None
        if fits_in_memory(reader, side) if resident is None else resident:
            self.pixels = load(reader, side).to(device)

    def __len__(self) -> int:
        return len(self.reader) if self.pixels is None else len(self.pixels)

    def batches(self, order: Tensor, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (uint8 (B, 3, S, S), int64 (B,)) in the given order of image indices.

        A streamed batch is shorter by the files that could not be read.

        Raises:
            UserError: more than 1 % of the files turned out to be unreadable.
        """
        if self.pixels is not None:
            order = order.to(self._device)
            for at in torch.split(order, batch_size):
                yield self.pixels.images[at], self.pixels.labels[at]
            return
        rows_of_batches = [rows.tolist() for rows in torch.split(order, batch_size)]
        loader: DataLoader[tuple[Tensor, int]] = DataLoader(
            StreamDataset(self.reader, self._side),
            batch_sampler=rows_of_batches,
            num_workers=self._workers,
            pin_memory=self._device.type == "cuda",
        )
        for rows, (images, labels) in zip(rows_of_batches, loader, strict=True):
            images, labels = self._without_bad(rows, images, labels)
            if len(labels):
                yield (
                    images.to(self._device, non_blocking=True),
                    labels.to(self._device, non_blocking=True),
                )

    def _without_bad(
        self, rows: list[int], images: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        good = (labels >= 0).nonzero().flatten()
        if len(good) == len(labels):
            return images, labels
        fresh = {rows[int(at)] for at in (labels < 0).nonzero().flatten()} - self._bad
        self._bad |= fresh
        names = [self.reader.name(row) for row in sorted(self._bad)]
        if fresh:
            say(describe_bad_files(names))
        reader = self.reader
        total = len(reader) + len(reader.skipped)
        check_bad_files([*reader.skipped, *names], total, reader.where)
        return images[good], labels[good]
