"""Augmentation of images together with their masks, as tensor operations on any device."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from effsearch.training.data.augment import MEAN, STD, Augmenter
from effsearch.training.data.masks import IGNORED
from searchspace.resolution import Resolution, height_width


class MaskAugmenter(Augmenter):
    """Random scale, crop and flip of images and masks; colours of images alone.

    A crop covers a part of the image's area between the recipe's `crop_scale_min` and
    `crop_scale_max`; the magnification is drawn evenly between what these two make of it. What is
    beyond the image is of no class.
    """

    def __call__(self, images: Tensor, labels: Tensor, side: Resolution) -> tuple[Tensor, Tensor]:
        """Augment a batch.

        Args:
            images: uint8, (N, 3, S, T).
            labels: masks, uint8, (N, S, T).
            side: of the output in px, or its height and width.

        Returns:
            Normalised float32 images (N, 3, H, W) and int64 masks (N, H, W).
        """
        recipe, n = self._recipe, images.shape[0]
        x = images.float() / 255
        if recipe.colour_jitter > 0:
            x = self._jitter(x)
        x = (x - self._mean) / self._std
        largest, smallest = recipe.crop_scale_min**-0.5, recipe.crop_scale_max**-0.5
        window = 1 / self._uniform(n, smallest, largest)
        log_ratio = math.log(recipe.crop_ratio_max)
        ratio = self._uniform(n, -log_ratio, log_ratio).exp().sqrt()
        width, height = window * ratio, window / ratio
        centre_x = (1 - width) * self._uniform(n, -1.0, 1.0)
        centre_y = (1 - height) * self._uniform(n, -1.0, 1.0)
        if recipe.flip:
            width = width * ((self._uniform(n) < 0.5).float() * 2 - 1)
        tall, wide = height_width(side)
        across = (width.view(n, 1) * self._steps(wide) + centre_x.view(n, 1)).view(n, 1, wide, 1)
        down = (height.view(n, 1) * self._steps(tall) + centre_y.view(n, 1)).view(n, tall, 1, 1)
        grid = torch.cat([across.expand(n, tall, wide, 1), down.expand(n, tall, wide, 1)], -1)
        x = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        # Beyond the border `grid_sample` gives 0, which therefore stands for what is ignored.
        shifted = (labels.float() - IGNORED).unsqueeze(1)
        masks = F.grid_sample(
            shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False
        )
        return x, (masks.squeeze(1) + IGNORED).long()


def prepare_whole(images: Tensor, side: Resolution) -> Tensor:
    """Prepare images for evaluation: whole, resized.

    Args:
        images: uint8, (N, 3, S, T).
        side: of the output in px, or its height and width.

    Returns:
        Normalised float32, (N, 3, H, W).
    """
    size, source = height_width(side), tuple(images.shape[2:])
    mean = torch.tensor(MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=images.device).view(1, 3, 1, 1)
    x = (images.float() / 255 - mean) / std
    if source == size:
        return x
    shrinks = any(has > wanted for has, wanted in zip(source, size, strict=True))
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
