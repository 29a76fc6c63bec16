"""Agreement of predicted and true masks: confusion matrix, mIoU and its standard error."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from effsearch.training.data.masks import IGNORED


def confusion(predicted: Tensor, masks: Tensor, classes: int) -> Tensor:
    """Return how many pixels of a true class (row) were given a class (column).

    Args:
        predicted: class numbers, int64, any shape.
        masks: true ones, int64, the same shape; 255 is left out.
        classes: how many.

    Returns:
        int64, (classes, classes).
    """
    counted = masks != IGNORED
    pairs = masks[counted] * classes + predicted[counted]
    return torch.bincount(pairs, minlength=classes**2).view(classes, classes)


def ious(matrices: Tensor) -> Tensor:
    """Return the intersection over union of each class, float64, NaN where there is no pixel.

    Args:
        matrices: confusion matrices, (..., classes, classes).
    """
    counts = matrices.double()
    both = counts.diagonal(dim1=-2, dim2=-1)
    return both / (counts.sum(-1) + counts.sum(-2) - both)


def miou(matrices: Tensor) -> tuple[float, float]:
    """Return the mean IoU over classes that occur, in %, and its standard error.

    The error is that of drawing the images, by the jackknife: the mean IoU without each of them
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, eq. 11.5).

    Args:
        matrices: a confusion matrix an image, (images, classes, classes).
    """
    total, count = matrices.sum(0), len(matrices)
    mean = float(ious(total).nanmean())
    if count < 2:
        return 100 * mean, math.nan
    without = torch.stack([ious(total - matrix).nanmean() for matrix in matrices])
    spread = (without - without.mean()).square().sum() * (count - 1) / count
    return 100 * mean, 100 * math.sqrt(float(spread))
