"""Classification: images with labels, soft cross-entropy, top-1."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn

from effsearch.training.data.augment import Augmenter
from effsearch.training.data.pixels import PixelSource
from effsearch.training.data.readers import create_readers
from effsearch.training.evaluate import evaluate
from effsearch.training.recipe import Recipe
from effsearch.training.step import soft_cross_entropy
from effsearch.training.tasks.task import Batches, Loss, Split, Task
from searchspace import Architecture
from searchspace.schema import CLASSIFICATION


class Classification(Task):
    """One label an image."""

    name = CLASSIFICATION
    key, metric, benchmark = "top1", "top-1", "ImageNet"
    data_form = "an ImageFolder tree: train/CLASS/*.jpg and val/CLASS/*.jpg, or a zip of one"
    recipe, refine_recipes = "standard", ("evidence-cpu", "small")
    evaluation_batch = 256
    distils = True

    def open(self, data: Path) -> tuple[Split, Split]:
        """Open an ImageFolder tree, a zip of one, or what an installed reader takes."""
        train, val = create_readers(data)
        return Split(train, partial(PixelSource, train)), Split(val, partial(PixelSource, val))

    def check_recipe(self, recipe: Recipe) -> None:
        """Take every recipe."""

    def fitted(self, architecture: Architecture, recipe: Recipe, classes: int) -> Architecture:
        """Return the network itself: its head takes any number of classes."""
        return architecture

    def augmenter(
        self,
        recipe: Recipe,
        classes: int,
        device: torch.device,
        generator: torch.Generator | None,
    ) -> Augmenter:
        """Return the augmentation of images and soft labels."""
        return Augmenter(recipe, classes, device, generator)

    def loss(self, recipe: Recipe) -> Loss:
        """Return the cross-entropy with soft labels."""
        return soft_cross_entropy

    def evaluate(
        self, network: nn.Module, batches: Batches, recipe: Recipe, device: torch.device
    ) -> dict[str, float]:
        """Return top-1 and top-5 in %, and the mean cross-entropy in nats."""
        found = evaluate(network, batches, recipe, device)
        return {"top1": found.top1, "top5": found.top5, "val_loss": found.loss}
