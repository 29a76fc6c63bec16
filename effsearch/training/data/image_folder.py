"""Readers of ImageFolder trees: `train/CLASS/*` and `val/CLASS/*`, as folders or in a zip."""

from __future__ import annotations

import hashlib
import lzma
import os
import struct
import threading
import zipfile
import zlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from effsearch.training.data.reader import ImageReader
from searchspace.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"})


MAX_FILE_BYTES = 64 << 20  # of one image; what is larger is read no further
# What a damaged, encrypted or strangely packed archive raises.
DAMAGED = (
    zipfile.BadZipFile, KeyError, NotImplementedError, RuntimeError, ValueError, EOFError,
    struct.error, zlib.error, lzma.LZMAError,
)  # fmt: skip


class _ImageTree(ImageReader):
    """A split whose classes are folders.

    Attributes:
        names: path of each image below the split, class by class.
    """

    def __init__(self, root: Path, split: str) -> None:
        super().__init__(root, split)
        self.classes, paths = self._list()
        index = {name: label for label, name in enumerate(self.classes)}
        below = [path for path in paths if len(path.parts) > 1]
        images = [path for path in below if _is_image(path)]
        self.names = tuple(str(path) for path in images)
        self.labels = tuple(index[path.parts[0]] for path in images)
        self.skipped = tuple(f"{split}/{path}" for path in below if not _is_image(path))

    @abstractmethod
    def _list(self) -> tuple[tuple[str, ...], Sequence[PurePosixPath]]:
        """Return the classes, and the paths of all files below the split, class by class."""

    @abstractmethod
    def _states(self) -> list[os.stat_result]:
        """Return the states of the files that change with the images."""

    def name(self, index: int) -> str:
        """Return an image's path with its split."""
        return f"{self.split}/{self.names[index]}"

    def digest(self) -> str:
        """Return 16 hex digits over the place, the names and the archive's or files' sizes."""
        hashed = hashlib.sha256(f"{self.root.resolve()}|{self.split}".encode())
        for name in self.names:
            hashed.update(os.fsencode(name))
        for state in self._states():
            hashed.update(f"{state.st_size}|{state.st_mtime_ns}".encode())
        return hashed.hexdigest()[:16]

    def _lacks_split(self) -> UserError:
        split = self.split
        return UserError(f"{self.root} has no folder '{split}'; it must hold {split}/CLASS/IMAGE")


class ImageFolder(_ImageTree):
    """A split that is a folder with a folder of images for each class."""

    @classmethod
    def accepts(cls, root: Path) -> bool:
        """Take every folder."""
        return root.is_dir()

    def read(self, index: int) -> bytes:
        """Return an image file's bytes; OSError where it is gone, or too large for one."""
        with (self.root / self.split / self.names[index]).open("rb") as file:
            return _bounded(file)

    def _list(self) -> tuple[tuple[str, ...], Sequence[PurePosixPath]]:
        folder = self.root / self.split
        if not folder.is_dir():
            raise self._lacks_split()
        classes = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir()))
        paths = [
            PurePosixPath(file.relative_to(folder).as_posix())
            for name in classes
            for file in sorted((folder / name).rglob("*"))
            if file.is_file()
        ]
        return classes, paths

    def _states(self) -> list[os.stat_result]:
        return [(self.root / self.split / name).stat() for name in self.names]


class ImageZip(_ImageTree):
    """A split in a zip archive of an ImageFolder tree; each thread opens the archive once."""

    def __init__(self, root: Path, split: str) -> None:
        self._opened = threading.local()
        super().__init__(root, split)

    def __getstate__(self) -> dict[str, object]:
        return {key: value for key, value in vars(self).items() if key != "_opened"}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._opened = threading.local()

    @classmethod
    def accepts(cls, root: Path) -> bool:
        """Take every file, and say so where one is no archive."""
        return root.is_file()

    def read(self, index: int) -> bytes:
        """Return a member's bytes; OSError where the archive changed or is damaged."""
        try:
            if not hasattr(self._opened, "archive"):
                self._opened.archive = zipfile.ZipFile(self.root)
            with self._opened.archive.open(self.name(index)) as member:
                return _bounded(member)
        except DAMAGED as error:
            raise OSError(str(error)) from error

    def _list(self) -> tuple[tuple[str, ...], Sequence[PurePosixPath]]:
        try:
            with zipfile.ZipFile(self.root) as archive:
                members = archive.namelist()
        except (*DAMAGED, OSError) as error:
            raise UserError(
                f"{self.root} is neither a directory nor a readable zip archive of an ImageFolder "
                "tree"
            ) from error
        prefix = f"{self.split}/"
        found = [name for name in members if name.startswith(prefix)]
        if not found:
            raise self._lacks_split()
        files = (name.removeprefix(prefix) for name in found if not name.endswith("/"))
        paths = sorted(PurePosixPath(name) for name in files)
        return tuple(sorted({path.parts[0] for path in paths if len(path.parts) > 1})), paths

    def _states(self) -> list[os.stat_result]:
        return [self.root.stat()]


def _is_image(path: PurePosixPath) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def _bounded(file: IO[bytes]) -> bytes:
    data = file.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise OSError(f"larger than {MAX_FILE_BYTES >> 20} MB")
    return data
