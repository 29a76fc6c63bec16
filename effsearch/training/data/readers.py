"""The kinds of image sources, and how one is opened by its path."""

from __future__ import annotations

from pathlib import Path

from effsearch.training.data.image_folder import ImageFolder, ImageZip
from effsearch.training.data.reader import ImageReader, check_reader, some
from searchspace.errors import UserError
from searchspace.extensions import installed

GROUP = "effsearch.readers"
BUILT_IN: dict[str, type[ImageReader]] = {"folder": ImageFolder, "zip": ImageZip}


def kinds() -> dict[str, type[ImageReader]]:
    """Return the kinds of readers by name; those of other packages come first.

    A package adds a kind by an entry point in the group `effsearch.readers`. It is asked before the
    two of this package, which take every folder and every file.
    """
    return {**installed(GROUP), **BUILT_IN}


def create_reader(root: str | Path, split: str) -> ImageReader:
    """Open one split of an image source by the first kind of reader that accepts its path.

    Args:
        root: an ImageFolder tree, a zip archive of one, or what an installed reader accepts.
        split: `train` or `val`.

    Raises:
        UserError: there is nothing at that path, no reader takes it, or the images cannot be
            trained on (see `check_reader`).
    """
    root = Path(root)
    if not root.exists():
        raise UserError(f"image data {root} does not exist; it must be an ImageFolder tree")
    found = next((kind for kind in kinds().values() if kind.accepts(root)), None)
    if found is None:
        raise UserError(f"image data {root} is neither a folder nor a file; give one of the two")
    reader = found(root, split)
    check_reader(reader)
    return reader


def create_readers(root: str | Path) -> tuple[ImageReader, ImageReader]:
    """Open the `train` and `val` splits of an image source.

    Raises:
        UserError: as `create_reader`, or the two have different classes.
    """
    train, val = create_reader(root, "train"), create_reader(root, "val")
    if train.classes != val.classes:
        missing = sorted(set(train.classes) - set(val.classes))
        extra = sorted(set(val.classes) - set(train.classes))
        parts = []
        if missing:
            parts.append(f"val lacks {some(missing)}")
        if extra:
            parts.append(f"train lacks {some(extra)}")
        raise UserError(f"{root}: train and val must have the same classes, but {'; '.join(parts)}")
    return train, val
