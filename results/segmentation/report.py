"""Curves, IoU by class and pictures of segmentation trainings on one data set.

python -m results.segmentation.report --data camvid.zip scratch=DIR pretrained=DIR \
    --out results/segmentation --picture side_by_side.png
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.colors import ListedColormap
from matplotlib.patches import Patch
from torch import Tensor

from effsearch.training import checkpoint as checkpoints
from effsearch.training.config import Point
from effsearch.training.confusion import confusion, ious, miou
from effsearch.training.data.mask_augment import prepare_whole
from effsearch.training.data.mask_pixels import MaskSource
from effsearch.training.data.masks import IGNORED, open_masks
from effsearch.training.tasks.segmentation import enlarged
from effsearch.training.trainer import FINAL, LAST

_SHOWN = 4  # images, evenly spread


def predict(folder: Path, images: Tensor, masks: Tensor) -> Tensor:
    """Return a trained network's class numbers (N, H, W) for uint8 images (N, 3, H, W)."""
    held = checkpoints.load(folder / FINAL)
    network = checkpoints.load_network(folder / FINAL).build()
    found = []
    with torch.no_grad():
        for image, mask in zip(torch.split(images, 1), torch.split(masks, 1), strict=True):
            logits = network(prepare_whole(image, held.recipe.image_side))
            found.append(enlarged(logits, mask).argmax(1))
    return torch.cat(found)


def write_curves(folders: dict[str, Path], path: Path) -> None:
    """Write every epoch of every training."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("training", "epoch", "loss", "miou", "miou_std"))
        for name, folder in folders.items():
            for values in checkpoints.load(folder / LAST).training["curve"]:
                point = Point(*values)
                figures = (point.loss, point.value, point.std or 0.0)
                writer.writerow((name, point.epoch, *(f"{figure:.4f}" for figure in figures)))


def write_classes(
    names: tuple[str, ...], masks: Tensor, predicted: dict[str, Tensor], path: Path
) -> None:
    """Write the IoU of each class by training, in %, and print mIoU with its error."""
    columns = []
    for name, numbers in predicted.items():
        pairs = zip(numbers, masks.long(), strict=True)
        matrices = torch.stack([confusion(p, true, len(names)) for p, true in pairs])
        mean, std = miou(matrices)
        print(f"{name}: mIoU {mean:.2f} ± {std:.2f} %")
        columns.append(100 * ious(matrices.sum(0)))
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("class", *predicted))
        for row, *values in zip(names, *columns, strict=True):
            writer.writerow((row, *(f"{value:.2f}" for value in values)))


def draw(columns: dict[str, npt.NDArray[np.uint8]], names: tuple[str, ...], path: Path) -> None:
    """Draw pictures (N, H, W, 3) or class numbers (N, H, W), a column each, with the colours."""
    colours = plt.get_cmap("tab20")(np.arange(len(names)))
    shown = ListedColormap([*colours, (0.0, 0.0, 0.0, 1.0)])
    rows = len(next(iter(columns.values())))
    figure, axes = plt.subplots(
        rows, len(columns), figsize=(3.2 * len(columns), 2.5 * rows + 0.5), squeeze=False
    )
    for column, (title, pictures) in zip(axes.T, columns.items(), strict=True):
        column[0].set_title(title)
        for axis, picture in zip(column, pictures, strict=True):
            axis.axis("off")
            if picture.ndim == 2:
                numbers = np.where(picture == IGNORED, len(names), picture)
                axis.imshow(numbers, shown, vmin=0, vmax=len(names), interpolation="nearest")
            else:
                axis.imshow(picture)
    marks = [Patch(color=colour) for colour in colours]
    figure.legend(
        marks, names, loc="lower center", ncols=3 * len(columns), frameon=False, fontsize=8
    )
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    figure.savefig(path, dpi=80)


def main() -> None:
    """Write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trainings", nargs="+", metavar="NAME=DIR")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--picture", type=Path, help="with the data's images and masks")
    options = parser.parse_args()
    folders = {name: Path(folder) for name, folder in (t.split("=", 1) for t in options.trainings)}
    first = next(iter(folders.values()))
    side = checkpoints.load(first / FINAL).recipe.source_side
    _, reader = open_masks(options.data)
    source = MaskSource(reader, side, torch.device("cpu"))
    images, masks = next(iter(source.batches(torch.arange(len(source)), len(source))))
    predicted = {name: predict(folder, images, masks) for name, folder in folders.items()}
    write_curves(folders, options.out / "curves.csv")
    write_classes(reader.classes, masks, predicted, options.out / "classes.csv")
    at = torch.arange(_SHOWN) * len(source) // _SHOWN + len(source) // (2 * _SHOWN)
    numbers = {name: found[at].numpy().astype(np.uint8) for name, found in predicted.items()}
    draw(numbers, reader.classes, options.out / "predictions.png")
    if options.picture:
        given = {"image": images[at].permute(0, 2, 3, 1).numpy(), "mask": masks[at].numpy()}
        draw({**given, **numbers}, reader.classes, options.picture)


if __name__ == "__main__":
    main()
