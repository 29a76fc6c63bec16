"""Segmentation: images with masks, cross-entropy of every pixel, mIoU."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effsearch.training.confusion import confusion, miou
from effsearch.training.data.augment import Augmenter
from effsearch.training.data.mask_augment import MaskAugmenter, prepare_whole
from effsearch.training.data.mask_pixels import MaskSource
from effsearch.training.data.masks import IGNORED, open_masks
from effsearch.training.recipe import Recipe
from effsearch.training.step import precision
from effsearch.training.tasks.task import Batches, Loss, Split, Task
from searchspace import Architecture
from searchspace.errors import UserError
from searchspace.resolution import height_width, resolution_text
from searchspace.schema import CLASSIFICATION, SEGMENTATION

_UNUSED = ("mix_probability", "randaugment_ops", "erasing_probability", "early_side")


class Segmentation(Task):
    """One class a pixel; mIoU is counted at the size that images are decoded to."""

    name = SEGMENTATION
    key, metric, benchmark = "miou", "mIoU", "Cityscapes"
    data_form = (
        "train/images and val/images, train/masks and val/masks with PNG files of class numbers, "
        "and classes.txt, or a zip of all that"
    )
    recipe, refine_recipes = "segment", ("segment-cpu", "segment")
    evaluation_batch = 8
    distils = False

    def open(self, data: Path) -> tuple[Split, Split]:
        """Open images with masks, a folder or a zip of it."""
        train, val = open_masks(data)
        return Split(train, partial(MaskSource, train)), Split(val, partial(MaskSource, val))

    def check_recipe(self, recipe: Recipe) -> None:
        """Refuse what mixes or distorts images, since masks would not follow."""
        unused = [name for name in _UNUSED if getattr(recipe, name)]
        if unused:
            raise UserError(
                f"recipe {recipe.name}: {', '.join(unused)} must be 0 for segmentation; the recipe "
                f"{self.recipe} is made for it"
            )
        image, source = height_width(recipe.image_side), height_width(recipe.source_side)
        if abs(image[0] * source[1] / (image[1] * source[0]) - 1) > 0.1:
            raise UserError(
                f"recipe {recipe.name}: image_side {resolution_text(recipe.image_side)} and "
                f"source_side {resolution_text(recipe.source_side)} differ in proportions by more "
                "than a tenth; --resolution sets both"
            )

    def fitted(self, architecture: Architecture, recipe: Recipe, classes: int) -> Architecture:
        """Return the network with a head of so many classes."""
        self.check_recipe(recipe)
        replace(architecture, resolution=recipe.image_side)  # refuses what the maps don't fit
        options = {**architecture.head.option, "classes": classes}
        head = replace(architecture.head, options=tuple(sorted(options.items())))
        return replace(architecture, head=head)

    def augmenter(
        self,
        recipe: Recipe,
        classes: int,
        device: torch.device,
        generator: torch.Generator | None,
    ) -> Augmenter:
        """Return the augmentation of images with their masks."""
        return MaskAugmenter(recipe, classes, device, generator)

    def loss(self, recipe: Recipe) -> Loss:
        """Return the mean cross-entropy over pixels that have a class."""

        def loss(logits: Tensor, masks: Tensor) -> Tensor:
            return _summed(enlarged(logits, masks), masks, recipe) / _labelled(masks).clamp(min=1)

        return loss

    @torch.no_grad()
    def evaluate(
        self, network: nn.Module, batches: Batches, recipe: Recipe, device: torch.device
    ) -> dict[str, float]:
        """Return mIoU with its error and pixel accuracy in %, and the cross-entropy in nats."""
        was_training = network.training
        network.eval()
        plain = recipe.replace(label_smoothing=0.0)
        matrices, loss, pixels = [], 0.0, 0
        for images, masks in batches:
            x = prepare_whole(images, recipe.image_side)
            if recipe.channels_last:
                x = x.contiguous(memory_format=torch.channels_last)
            with precision(recipe, device):
                logits = network(x)
            # One at a time: maps of many classes at full size are large.
            for one, mask in zip(torch.split(logits, 1), torch.split(masks.long(), 1), strict=True):
                full = enlarged(one, mask)
                matrices.append(confusion(full.argmax(1), mask, full.shape[1]).int().cpu())
                loss += float(_summed(full, mask, plain))
                pixels += int(_labelled(mask))
        network.train(was_training)
        found = torch.stack(matrices)
        mean, std = miou(found)
        right = float(found.sum(0).trace())
        return {
            "miou": mean,
            "miou_std": std,
            "pixel_accuracy": 100 * right / max(pixels, 1),
            "val_loss": loss / max(pixels, 1),
        }

    def other(self, task: str) -> str:
        """Return how a classifier's weights come in."""
        if task == CLASSIFICATION:
            return (
                "name one of `effsearch zoo --task segmentation` or a YAML with such a head, and "
                "give a classifier's checkpoint as --init-backbone"
            )
        return super().other(task)


def enlarged(logits: Tensor, masks: Tensor) -> Tensor:
    """Return logits (N, C, h, w) in float32 at the size of masks (N, H, W)."""
    size = masks.shape[1:]
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)


def _labelled(masks: Tensor) -> Tensor:
    return (masks != IGNORED).sum()


def _summed(logits: Tensor, masks: Tensor, recipe: Recipe) -> Tensor:
    smoothing = recipe.label_smoothing
    return F.cross_entropy(
        logits, masks, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
    )
