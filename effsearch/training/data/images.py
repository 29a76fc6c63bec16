"""ImageFolder trees: `train/CLASS/*` and `val/CLASS/*`, in a directory or a zip archive."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import torch

from searchspace.errors import UserError

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".tif", ".tiff"})
BAD_FRACTION_MAX = 0.01
_NAMED = 3


@dataclass(frozen=True)
class ImageTree:
    """One split of an ImageFolder tree.

    Attributes:
        root: The directory or zip archive that holds the split.
        split: Folder of the split inside it, `train` for example.
        classes: Class names in the order of their labels.
        names: Paths of the images below `split`, class by class.
        labels: Label of each image, an index into `classes`.
        skipped: Paths of files that are no images by their suffix.
    """

    root: Path
    split: str
    classes: tuple[str, ...]
    names: tuple[str, ...]
    labels: tuple[int, ...]
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.names)

    @property
    def is_archive(self) -> bool:
        """Whether the images lie in a zip archive."""
        return self.root.is_file()

    def digest(self) -> str:
        """Returns 16 hex digits over the place, the names and the archive's or files' sizes."""
        hashed = hashlib.sha256(f"{self.root.resolve()}|{self.split}".encode())
        for name in self.names:
            hashed.update(name.encode())
        if self.is_archive:
            state = self.root.stat()
            hashed.update(f"{state.st_size}|{state.st_mtime_ns}".encode())
        else:
            for name in self.names:
                state = (self.root / self.split / name).stat()
                hashed.update(f"{state.st_size}|{state.st_mtime_ns}".encode())
        return hashed.hexdigest()[:16]


class ByteReader:
    """Reads the bytes of a tree's images; opens an archive once a process."""

    def __init__(self, tree: ImageTree) -> None:
        self._tree = tree
        self._archive: zipfile.ZipFile | None = None

    def __getstate__(self) -> dict[str, object]:
        # An open archive cannot travel to a worker process; it opens its own.
        return {"_tree": self._tree, "_archive": None}

    def read(self, name: str) -> bytes:
        """Returns one image file's bytes.

        Raises:
            OSError: The file is gone or cannot be read.
        """
        if not self._tree.is_archive:
            return (self._tree.root / self._tree.split / name).read_bytes()
        if self._archive is None:
            self._archive = zipfile.ZipFile(self._tree.root)
        try:
            return self._archive.read(f"{self._tree.split}/{name}")
        except (zipfile.BadZipFile, KeyError) as error:
            raise OSError(str(error)) from error


def scan_split(root: str | Path, split: str) -> ImageTree:
    """Lists one split of a tree.

    Args:
        root: A directory, or a zip archive with the same layout inside.
        split: The folder below it, `train` or `val`.

    Returns:
        The split, with files that are no images by suffix set aside in `skipped`.

    Raises:
        UserError: Root or split is missing, there are no images, there is one class only, a class
            folder has no images, or more than 1 % of the files are no images.
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"image data {root} does not exist; it must be an ImageFolder tree")
    if root.is_file():
        paths = _archive_paths(root, split)
        classes = sorted({path.parts[0] for path in paths if len(path.parts) > 1})
    else:
        folder = root / split
        if not folder.is_dir():
            raise UserError(f"{root} has no folder '{split}'; it must hold {split}/CLASS/IMAGE")
        classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        paths = [
            PurePosixPath(file.relative_to(folder).as_posix())
            for name in classes
            for file in sorted((folder / name).rglob("*"))
            if file.is_file()
        ]
    return _collect(root, split, classes, paths)


def scan(root: str | Path) -> tuple[ImageTree, ImageTree]:
    """Lists the `train` and `val` splits of a tree.

    Raises:
        UserError: As `scan_split`, or the two have different classes.
    """
    train, val = scan_split(root, "train"), scan_split(root, "val")
    if train.classes != val.classes:
        missing = sorted(set(train.classes) - set(val.classes))
        extra = sorted(set(val.classes) - set(train.classes))
        parts = []
        if missing:
            parts.append(f"val lacks {_some(missing)}")
        if extra:
            parts.append(f"train lacks {_some(extra)}")
        raise UserError(f"{root}: train and val must have the same classes, but {'; '.join(parts)}")
    return train, val


def check_labels(labels: torch.Tensor | Sequence[int], num_classes: int) -> None:
    """Checks that every label has an output of the network.

    Args:
        labels: Integer labels, any shape.
        num_classes: Outputs of the network.

    Raises:
        UserError: A label is below 0 or is `num_classes` or more.
    """
    values: npt.NDArray[np.int64] = np.asarray(labels, dtype=np.int64)
    if values.size and (values.min() < 0 or values.max() >= num_classes):
        bad = int(values.max()) if values.max() >= num_classes else int(values.min())
        raise UserError(
            f"label {bad} is out of range; a network of {num_classes} classes takes 0 to "
            f"{num_classes - 1}"
        )


def check_bad_files(bad: Sequence[str], total: int, where: str) -> None:
    """Refuses data in which more than 1 % of the files cannot be used.

    Args:
        bad: The unusable files.
        total: All files, those included.
        where: The data's place, for the message.

    Raises:
        UserError: More than 1 % are bad.
    """
    if len(bad) > BAD_FRACTION_MAX * total:
        raise UserError(
            f"{where}: {len(bad)} of {total} files are unreadable or no images "
            f"({_some(bad)}); at most 1 % may be: remove or repair them"
        )


def describe_bad_files(bad: Sequence[str]) -> str:
    """Returns one line that counts and names skipped files."""
    return f"skipped {len(bad)} unreadable or non-image file(s): {_some(bad)}"


def _archive_paths(root: Path, split: str) -> list[PurePosixPath]:
    try:
        with zipfile.ZipFile(root) as archive:
            members = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"{root} is neither a directory nor a readable zip archive of an ImageFolder tree"
        ) from error
    prefix = f"{split}/"
    found = [PurePosixPath(name[len(prefix) :]) for name in members if name.startswith(prefix)]
    if not found:
        raise UserError(f"{root} has no folder '{split}'; it must hold {split}/CLASS/IMAGE")
    return sorted(
        path
        for path, name in zip(found, (n for n in members if n.startswith(prefix)), strict=True)
        if not name.endswith("/")
    )


def _collect(
    root: Path, split: str, classes: Sequence[str], paths: Iterable[PurePosixPath]
) -> ImageTree:
    where = f"{root}/{split}"
    index = {name: label for label, name in enumerate(classes)}
    names: list[str] = []
    labels: list[int] = []
    skipped: list[str] = []
    for path in paths:
        if len(path.parts) < 2:
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
            names.append(str(path))
            labels.append(index[path.parts[0]])
        else:
            skipped.append(f"{split}/{path}")
    if not names:
        raise UserError(f"{where} holds no images; it must hold CLASS/IMAGE files")
    check_bad_files(skipped, len(names) + len(skipped), where)
    filled = set(labels)
    empty = [name for label, name in enumerate(classes) if label not in filled]
    if empty:
        raise UserError(f"{where}: no images in class {_some(empty)}; each class needs some")
    if len(classes) < 2:
        raise UserError(f"{where} has one class ('{classes[0]}'); training needs two or more")
    return ImageTree(root, split, tuple(classes), tuple(names), tuple(labels), tuple(skipped))


def _some(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_NAMED])
    return shown if len(items) <= _NAMED else f"{shown} and {len(items) - _NAMED} more"
