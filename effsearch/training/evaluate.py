"""Accuracy of a network on a split."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effsearch.training.data.augment import prepare
from effsearch.training.recipe import Recipe
from effsearch.training.step import precision
from searchspace.resolution import Resolution


@dataclass(frozen=True)
class Evaluation:
    """Figures on a labelled split: top-1 and top-5 in %, mean cross-entropy in nats."""

    top1: float
    top5: float
    loss: float
    images: int


@torch.no_grad()
def evaluate(
    network: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    recipe: Recipe,
    device: torch.device,
    side: Resolution | None = None,
) -> Evaluation:
    """Evaluate a network; its mode is put back afterwards.

    Args:
        network: maps (N, 3, R, R) to logits (N, classes).
        batches: uint8 images (N, 3, S, S) and labels (N,), on the device.
        recipe: gives precision and memory format.
        device: where the network is.
        side: that the network sees, in px; the recipe's when None.
    """
    was_training = network.training
    network.eval()
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    count = 0
    for images, labels in batches:
        x = prepare(images, side or recipe.image_side)
        if recipe.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        with precision(recipe, device):
            logits = network(x)
        logits = logits.float()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices == labels.view(-1, 1)
        sums[0] += best[:, 0].sum()
        sums[1] += best.sum()
        sums[2] += F.cross_entropy(logits, labels, reduction="sum")
        count += len(labels)
    network.train(was_training)
    top1, top5, loss = (sums / max(count, 1)).tolist()
    return Evaluation(100 * top1, 100 * top5, loss, count)
