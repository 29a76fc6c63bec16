"""Images with masks of class numbers: `train/images`, `train/masks`, `val/...` and `classes.txt`.

A mask is a PNG of its image's size and name; what is 255 in it belongs to no class. The tree may be
a zip archive.
"""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
from PIL import Image

from effsearch.training.data.image_folder import DAMAGED, ImageFolder, ImageZip
from effsearch.training.data.pixels import UNREADABLE
from effsearch.training.data.reader import check_bad_files, some
from searchspace.errors import UserError
from searchspace.resolution import Resolution, height_width

IGNORED = 255
CLASSES_FILE = "classes.txt"
_IMAGES, _MASKS = "images", "masks"
_FILL = (124, 116, 104)  # the mean colour, which normalises to nearly 0
_NUMBERS = ("1", "L", "P", "I", "I;16")  # Pillow's modes of one value a pixel

Array = npt.NDArray[np.uint8]


class MaskReader:
    """One split of images with masks; it can be pickled, to read in other processes.

    Args:
        root: the folder, or a zip archive of it.
        split: `train` or `val`.

    Attributes:
        classes: class names; a mask's number is an index into them.

    Raises:
        UserError: something is missing; names the first three files.
    """

    def __init__(self, root: Path, split: str) -> None:
        if not root.exists():
            raise UserError(
                f"image data {root} does not exist; it must hold {split}/images, {split}/masks and "
                f"{CLASSES_FILE}, as a folder or a zip"
            )
        self.classes = _read_classes(root)
        try:
            self._tree = (ImageFolder if root.is_dir() else ImageZip)(root, split)
        except UserError:
            raise UserError(
                f"{root} has no folder '{split}'; it must hold {split}/images and {split}/masks"
            ) from None
        self.where = self._tree.where
        for folder in (_IMAGES, _MASKS):
            if folder not in self._tree.classes:
                raise UserError(
                    f"{self.where} has no folder '{folder}'; it must hold images/NAME.jpg and "
                    "masks/NAME.png, PNG files of class numbers"
                )
        files = len(self._tree) + len(self._tree.skipped)
        check_bad_files(self._tree.skipped, files, self.where)
        found: dict[str, dict[str, int]] = {_IMAGES: {}, _MASKS: {}}
        for index, text in enumerate(self._tree.names):
            path = PurePosixPath(text)
            if path.parts[0] in found:
                name = str(PurePosixPath(*path.parts[1:]).with_suffix(""))
                if name in found[path.parts[0]]:
                    raise UserError(
                        f"{self.where}: two files in {path.parts[0]} are named {name}; a mask "
                        "belongs to one image"
                    )
                found[path.parts[0]][name] = index
        images, masks = found[_IMAGES], found[_MASKS]
        self._check_pairs("images", set(images) - set(masks), "mask in masks/")
        self._check_pairs("masks", set(masks) - set(images), "image in images/")
        self._pairs = [(images[name], masks[name]) for name in sorted(images)]
        if len(self) < 2:
            raise UserError(
                f"{self.where} holds {len(self)} image(s) with masks; two are the least"
            )

    def _check_pairs(self, what: str, alone: set[str], lacking: str) -> None:
        if alone:
            raise UserError(
                f"{self.where}: {len(alone)} {what} have no {lacking} ({some(sorted(alone))}); an "
                "image and its mask have the same name"
            )

    def __len__(self) -> int:
        return len(self._pairs)

    def digest(self) -> str:
        """Return 16 hex digits over the place, the names and the archive's or files' sizes."""
        return self._tree.digest()

    def image(self, index: int, side: Resolution) -> Array:
        """Return an image fitted into a size, (3, H, W).

        Raises:
            UserError: it cannot be read.
        """
        height, width = height_width(side)
        opened = self._open(self._pairs[index][0])
        opened.draft("RGB", (width, height))
        picture = self._fitted(self._pixels(opened, index, 0).convert("RGB"), side, _FILL)
        return np.ascontiguousarray(np.asarray(picture, dtype=np.uint8).transpose(2, 0, 1))

    def mask(self, index: int, side: Resolution) -> Array:
        """Return a mask fitted into a size, (H, W), checked.

        Raises:
            UserError: it cannot be read, has another size than its image, or numbers without class.
        """
        image, mask = (self._open(each) for each in self._pairs[index])
        name = self._name(index, 1)
        if mask.size != image.size:
            (mask_wide, mask_tall), (wide, tall) = mask.size, image.size
            raise UserError(
                f"{name} is {mask_wide}x{mask_tall} px, its image {wide}x{tall}; a mask has its "
                "image's size"
            )
        if mask.format == "JPEG":
            raise UserError(f"{name} is a JPEG, which changes numbers; a mask is a PNG")
        if mask.mode not in _NUMBERS:
            raise UserError(
                f"{name} is a picture in colours ({mask.mode}); a mask holds one class number a "
                "pixel, as a grey or palette PNG"
            )
        numbers = np.asarray(self._pixels(mask, index, 1)).astype(np.int64)
        wrong = numbers[(numbers != IGNORED) & ((numbers >= len(self.classes)) | (numbers < 0))]
        if wrong.size:
            count = len(self.classes)
            raise UserError(
                f"{name} has class number {int(wrong.max())}; {CLASSES_FILE} names {count} "
                f"classes, 0 to {count - 1}, and {IGNORED} is ignored"
            )
        plain = Image.fromarray(numbers.astype(np.uint8))
        return np.array(self._fitted(plain, side, IGNORED))

    def _name(self, index: int, which: int) -> str:
        return f"{self._tree.root}/{self._tree.name(self._pairs[index][which])}"

    def _open(self, number: int) -> Image.Image:
        try:
            return Image.open(io.BytesIO(self._tree.read(number)))
        except UNREADABLE:
            raise self._unreadable(f"{self._tree.root}/{self._tree.name(number)}") from None

    def _pixels(self, opened: Image.Image, index: int, which: int) -> Image.Image:
        try:
            opened.load()
        except UNREADABLE:
            raise self._unreadable(self._name(index, which)) from None
        return opened

    @staticmethod
    def _unreadable(name: str) -> UserError:
        return UserError(f"{name} cannot be read as an image; remove or repair it and its partner")

    @staticmethod
    def _fitted(
        picture: Image.Image, side: Resolution, fill: int | tuple[int, int, int]
    ) -> Image.Image:
        """Return a picture as large as it fits, whole, in the centre; masks keep their numbers."""
        tall, wide = height_width(side)
        if picture.size == (wide, tall):
            return picture
        factor = min(wide / picture.width, tall / picture.height)
        size = tuple(max(1, round(factor * length)) for length in picture.size)
        is_mask = picture.mode == "L"
        how = Image.Resampling.NEAREST if is_mask else Image.Resampling.BILINEAR
        corner = (wide - size[0]) // 2, (tall - size[1]) // 2
        whole = Image.new(picture.mode, (wide, tall), fill)
        whole.paste(picture.resize((size[0], size[1]), how), corner)
        return whole


def open_masks(root: Path) -> tuple[MaskReader, MaskReader]:
    """Open the `train` and `val` splits of images with masks.

    Raises:
        UserError: they cannot be used.
    """
    return MaskReader(root, "train"), MaskReader(root, "val")


def _read_classes(root: Path) -> tuple[str, ...]:
    try:
        if root.is_dir():
            data = (root / CLASSES_FILE).read_bytes()
        else:
            with zipfile.ZipFile(root) as archive:
                data = archive.read(CLASSES_FILE)
        names = tuple(line.strip() for line in data.decode().splitlines() if line.strip())
    except (OSError, KeyError):
        raise UserError(
            f"{root} has no {CLASSES_FILE}; it must name the classes, one a line, in the order of "
            "their numbers in the masks"
        ) from None
    except UnicodeDecodeError:
        raise UserError(f"{root}: {CLASSES_FILE} is no UTF-8 text") from None
    except DAMAGED:
        raise UserError(f"{root} is neither a folder nor a readable zip archive") from None
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise UserError(f"{root}: {CLASSES_FILE} names {some(twice)} twice")
    if len(names) < 2:
        raise UserError(
            f"{root}: {CLASSES_FILE} names {len(names)} class(es); segmentation needs two or more"
        )
    if len(names) > IGNORED:
        raise UserError(
            f"{root}: {CLASSES_FILE} names {len(names)} classes; {IGNORED} are the most"
        )
    return names
