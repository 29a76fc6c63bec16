"""Accuracy of networks with inherited weights, their batch norms recalibrated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from effsearch.training.data.augment import prepare
from effsearch.training.data.pixels import PixelSource
from effsearch.training.data.readers import create_readers
from effsearch.training.devices import pick_device
from effsearch.training.evaluate import Evaluation, evaluate
from effsearch.training.order import epoch_order
from effsearch.training.recipe import Recipe
from effsearch.training.step import precision, to_channels_last
from effsearch.training.supernet.sampling import resolution_of
from effsearch.training.supernet.state import SupernetCheckpoint
from searchspace import Architecture, Network
from searchspace.errors import UserError
from searchspace.resolution import Resolution
from searchspace.supernet import Supernet

BATCH = 256


@torch.no_grad()
def recalibrate(
    network: nn.Module,
    batches: Iterable[Tensor],
    recipe: Recipe,
    device: torch.device,
    side: Resolution,
) -> None:
    """Replace the running statistics of all batch norms by means over batches.

    Args:
        network: the network; its mode is put back afterwards.
        batches: uint8 images (N, 3, S, S).
        recipe: gives precision and memory format.
        device: where the network is.
        side: that the network sees, in px.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    was_training = network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over all batches
    network.train()
    for pictures in batches:
        x = prepare(pictures, side)
        if recipe.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with precision(recipe, device):
            network(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)


@dataclass(frozen=True)
class InheritedConfig:
    """How inherited accuracy is measured.

    Attributes:
        data: ImageFolder tree, or a zip archive of one.
        images: validation images, evenly spread over the split; None for all.
        recalibration_batches: batches of training images for the batch norms.
        device: `cpu`, `cuda` or `auto`.
    """

    data: Path
    images: int | None = None
    recalibration_batches: int = 4
    device: str = "auto"


class InheritedScorer:
    """Evaluates members of a supernet's space with the weights that they inherit.

    Args:
        supernet: the supernet; its weights are read only.
        classes: class names in the order of its outputs.
        recipe: how it was trained: gives side, precision and memory format.
        config: the images and how many.

    Raises:
        UserError: where the data's classes are not the supernet's, or numbers are out of range.
    """

    def __init__(
        self,
        supernet: Supernet,
        classes: tuple[str, ...],
        recipe: Recipe,
        config: InheritedConfig,
    ) -> None:
        if config.recalibration_batches < 1:
            raise UserError("recalibration needs 1 batch or more")
        if config.images is not None and config.images < 1:
            raise UserError("evaluation needs 1 image or more")
        self.config, self.recipe, self.classes = config, recipe, classes
        train_images, val_images = create_readers(config.data)
        if val_images.classes != classes:
            raise UserError(
                f"{config.data} has other classes than the supernet was trained on "
                f"({len(val_images.classes)} and {len(classes)}); evaluate on the same classes"
            )
        self.data_digest = f"{train_images.digest()}-{val_images.digest()}"
        self.device = pick_device(config.device)
        self.supernet = supernet.to(self.device).eval()
        if recipe.channels_last:
            to_channels_last(self.supernet)
        train = PixelSource(train_images, recipe.source_side, self.device)
        self._val = PixelSource(val_images, recipe.source_side, self.device)
        count = len(self._val)
        self.images = min(count, config.images or count)
        self._val_order = (torch.arange(self.images) * count) // self.images
        needed = config.recalibration_batches * BATCH
        # Always the same images, so that a score does not depend on what was scored before it.
        order = epoch_order(len(train), 0, 0)[:needed]
        self._calibration = torch.cat([found for found, _ in train.batches(order, BATCH)])
        # Kernels of small networks are short: large batches keep a GPU busy.
        self.batch = 4 * BATCH if self.device.type == "cuda" else BATCH

    @classmethod
    def of(cls, held: SupernetCheckpoint, config: InheritedConfig) -> InheritedScorer:
        """Return the evaluation of a checkpoint's supernet."""
        return cls(held.supernet(), held.classes, held.recipe, config)

    def network(self, architecture: Architecture) -> Network:
        """Return a member with its weights, recalibrated, in eval mode.

        Raises:
            UserError: where the architecture is not in the supernet's space.
        """
        network = self.supernet.extract(architecture)
        if self.recipe.channels_last:
            to_channels_last(network)
        recalibrate(network, self._pictures(), self.recipe, self.device, self.side(architecture))
        return network.eval()

    def side(self, architecture: Architecture) -> Resolution:
        """Return the side (or height and width) in px that a member sees."""
        return resolution_of(architecture, self.supernet.space, self.recipe.image_side)

    def evaluate(self, architecture: Architecture) -> Evaluation:
        """Return a member's accuracy with its inherited weights.

        Raises:
            UserError: where the architecture is not in the supernet's space.
        """
        return self.evaluate_network(self.network(architecture))

    def evaluate_network(self, network: Network) -> Evaluation:
        """Return a network's accuracy on the same images."""
        side = self.side(network.architecture)
        return evaluate(network, self.pictures(self.batch), self.recipe, self.device, side)

    def pictures(self, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the validation images, uint8 (N, 3, S, S), and their labels, (N,)."""
        yield from self._val.batches(self._val_order, batch)

    def try_batch(self, architecture: Architecture) -> None:
        """Run one batch of a member in train mode, the dearest that is done to it."""
        network = self.supernet.extract(architecture)
        if self.recipe.channels_last:
            to_channels_last(network)
        first = [self._calibration[:BATCH]]
        recalibrate(network, first, self.recipe, self.device, self.side(architecture))

    def _pictures(self) -> Iterator[Tensor]:
        yield from torch.split(self._calibration, BATCH)
