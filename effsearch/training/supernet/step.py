"""One step of supernet training: a sandwich of networks, one update of the shared weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from effsearch.training.data.augment import Augmenter
from effsearch.training.order import mix_seed
from effsearch.training.recipe import Recipe
from effsearch.training.step import (
    assign,
    copy_state,
    decay_groups,
    precision,
    soft_cross_entropy,
)
from effsearch.training.supernet.sampling import Sandwich, resolution_of
from searchspace.resolution import Resolution, height_width
from searchspace.supernet import Supernet


class SupernetStep:
    """The supernet, its optimiser and average, and the operation that advances them by a batch.

    Everything random follows from the seed and the step's number, so that a resumed run goes on as
    if it had never stopped (on the CPU to the bit).

    Args:
        supernet: the supernet, on the device, in train mode.
        recipe: how to train: rate, decay, clipping, augmentation, average, precision.
        rate: the learning rate as a function of the step's number.
        device: where everything lives.
        seed: fixes the augmentation.
        rank: this process among `size` ones, which share gradients.
        size: number of processes.
    """

    def __init__(
        self,
        supernet: Supernet,
        recipe: Recipe,
        rate: Callable[[int], float],
        device: torch.device,
        seed: int,
        rank: int = 0,
        size: int = 1,
    ) -> None:
        self.supernet = supernet
        self.recipe = recipe
        self.device = device
        self.count = 0
        self.loss_sum = torch.zeros((), device=device)
        self._rate = rate
        self._seed, self._rank, self._size = seed, rank, size
        self._generator = torch.Generator(device)
        self._augment = Augmenter(recipe, supernet.num_classes, device, self._generator)
        self._parameters: list[Tensor] = list(supernet.parameters())
        self.optimizer = torch.optim.AdamW(
            decay_groups(self._parameters, recipe.weight_decay),
            lr=recipe.learning_rate,
            betas=(0.9, recipe.beta2),
            fused=True,
        )
        self.average = copy_state(self._parameters) if recipe.ema_decay > 0 else []

    def run(self, images: Tensor, labels: Tensor, sandwich: Sandwich, side: Resolution) -> None:
        """Train the networks of a sandwich on a batch.

        The teacher learns the labels; the students learn its predictions as well, with the recipe's
        weight of distillation (in-place distillation, Yu and Huang, arXiv 1903.05134).

        Args:
            images: uint8, (N, 3, S, S), on the device.
            labels: int64, (N,), on the device.
            sandwich: the networks.
            side: of the augmented images in px, for the space's largest resolution.
        """
        rate = self._rate(self.count)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self._generator.manual_seed(mix_seed(self._seed, self.count, self._rank, 2))
        x, targets = self._augment(images, labels, side)
        if self.recipe.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        # Without None, weights that no network of this step uses would decay and drift.
        self.optimizer.zero_grad(set_to_none=True)
        networks = (sandwich.teacher, *sandwich.students)
        taught: Tensor | None = None
        share, heat = self.recipe.distillation, self.recipe.temperature
        for architecture in networks:
            self.supernet.activate(architecture)
            seen = resolution_of(architecture, self.supernet.space, side)
            with precision(self.recipe, self.device):
                logits = self.supernet(_resized(x, seen))
            loss = soft_cross_entropy(logits, targets)
            if taught is None:
                self.loss_sum.add_(loss.detach())
                taught = F.softmax(logits.detach().float() / heat, dim=1)
            elif share > 0:
                soft = heat**2 * soft_cross_entropy(logits / heat, taught)
                loss = (1 - share) * loss + share * soft
            (loss / len(networks)).backward()  # type: ignore[no-untyped-call]
        self._update()
        self.count += 1

    def _update(self) -> None:
        if self._size > 1:
            self._share_gradients()
        if self.recipe.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.recipe.gradient_clip)
        self.optimizer.step()
        if self.average:
            # The decay grows with the steps, so that the random start is soon forgotten.
            decay = min((1 + self.count) / (10 + self.count), self.recipe.ema_decay)
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self._parameters, 1 - decay)

    def _share_gradients(self) -> None:
        # All processes train the same networks, so the same parameters have gradients.
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self._size
        at = 0
        for gradient in gradients:
            gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
            at += gradient.numel()

    def weights(self) -> dict[str, Tensor]:
        """Return the weights to use, on the CPU: the averaged ones where there is an average."""
        values = self.average or self._parameters
        names = [name for name, _ in self.supernet.named_parameters()]
        return {
            name: value.detach().cpu().contiguous().clone()
            for name, value in zip(names, values, strict=True)
        }

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs beside `weights`."""
        return {
            "parameters": copy_state([p.cpu() for p in self._parameters]) if self.average else [],
            "optimizer": self.optimizer.state_dict(),
            "count": self.count,
        }

    def load_state_dict(self, state: dict[str, Any], weights: dict[str, Tensor]) -> None:
        """Continue from `state_dict`'s and `weights`' values."""
        held = list(weights.values())
        if self.average:
            assign(self.average, held)
            held = state["parameters"]
        assign([p.data for p in self._parameters], held)
        self.optimizer.load_state_dict(state["optimizer"])
        self.count = int(state["count"])


def _resized(x: Tensor, side: Resolution) -> Tensor:
    size, held = height_width(side), tuple(x.shape[2:])
    if size == held:
        return x
    shrinks = any(has > wanted for has, wanted in zip(held, size, strict=True))
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False, antialias=shrinks)
