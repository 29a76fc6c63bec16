"""One training step: augment, forward, backward, AdamW and the running average of the weights.

On CUDA every changing quantity (rate, decay of the average, cursor into the data) lives on the
device, so that the whole step can be captured once and replayed in a CUDA graph.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effsearch.training.data.augment import Augmenter
from effsearch.training.recipe import Recipe
from searchspace.resolution import Resolution


class Step:
    """The state of a training run and the operation that advances it by one batch.

    Args:
        network: the module to train, already on `device`.
        recipe: how to train it.
        num_classes: its outputs.
        steps_per_epoch: batches an epoch.
        device: where everything lives.
        generator: randomness of the augmentation; None takes the device's default generator.
        forward: called instead of `network`, for a wrapper such as DDP.
        teacher: a network in evaluation mode whose soft labels are learnt as well.
        layers: parameters to train, by what their learning rate is multiplied with; None for all
            of the network's by 1.
        augment: makes training batches; None for a classifier's.
        loss: of logits and augmented targets; None for a classifier's.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        steps_per_epoch: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        forward: Callable[[Tensor], Tensor] | None = None,
        teacher: nn.Module | None = None,
        layers: Sequence[tuple[float, Sequence[nn.Parameter]]] | None = None,
        augment: Augmenter | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.device = device
        self.count = 0
        self._forward = forward or network
        self._teacher = teacher
        self.augment = augment or Augmenter(recipe, num_classes, device, generator)
        self._loss = loss or soft_cross_entropy
        if layers is None:
            layers = [(1.0, [p for p in network.parameters() if p.requires_grad])]
        self._parameters = [parameter for _, held in layers for parameter in held]
        self._on_device = device.type == "cuda"
        total = steps_per_epoch * recipe.epochs
        self._rates = rate_schedule(recipe, steps_per_epoch, total)
        self._counter = torch.zeros(1, dtype=torch.int64, device=device)
        self._rates_device = torch.tensor(self._rates, dtype=torch.float32, device=device)
        self._factors: list[float] = []  # of the rate, by group of the optimiser
        self._group_rates: list[Tensor] = []  # on CUDA
        self.optimizer = self._make_optimizer(layers)
        self.loss_sum = torch.zeros((), device=device)
        self._current = _float_state(network)
        self.average = copy_state(self._current) if recipe.ema_decay > 0 else []

    def _make_optimizer(
        self, layers: Sequence[tuple[float, Sequence[nn.Parameter]]]
    ) -> torch.optim.AdamW:
        groups = []
        for factor, held in layers:
            of_layer = decay_groups(held, self.recipe.weight_decay)
            groups += of_layer
            self._factors += [factor] * len(of_layer)
        betas = (0.9, self.recipe.beta2)
        if not self._on_device:
            return torch.optim.AdamW(groups, lr=self._rates[0], betas=betas, fused=True)
        optimizer = torch.optim.AdamW(
            groups, lr=self._rates[0], betas=betas, capturable=True, fused=True
        )
        self._share_rates(optimizer)
        return optimizer

    def _share_rates(self, optimizer: torch.optim.AdamW) -> None:
        # A tensor for each group: writing to it changes the rate of a captured step.
        self._group_rates = [
            torch.tensor(self._rates[0] * factor, dtype=torch.float32, device=self.device)
            for factor in self._factors
        ]
        for group, rate in zip(optimizer.param_groups, self._group_rates, strict=True):
            group["lr"] = rate

    @property
    def learning_rate(self) -> float:
        """The rate of the last step, before layers' factors."""
        return self._rates[min(max(self.count - 1, 0), len(self._rates) - 1)]

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """Advance the run by one batch.

        Args:
            images: uint8, (N, 3, S, S), on the device.
            labels: int64, (N,), or uint8 masks (N, S, S), on the device.
        """
        self.run(images, labels, self.recipe.image_side)

    def run(self, images: Tensor, labels: Tensor, side: Resolution) -> None:
        """Advance the run by one batch whose augmented images have another side, in px."""
        self._set_rate()
        x, targets = self.augment(images, labels, side)
        if self.recipe.channels_last:
            x = x.contiguous(memory_format=torch.channels_last)
        self.optimizer.zero_grad(set_to_none=True)
        with precision(self.recipe, self.device):
            logits = self._forward(x)
        loss = self._loss(logits, targets)
        if self._teacher is not None:
            loss = self._distilled(loss, logits, x)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.recipe.gradient_clip > 0:
            torch.nn.utils.clip_grad_norm_(
                self._parameters, self.recipe.gradient_clip, foreach=self._on_device or None
            )
        self.optimizer.step()
        if self.average:
            self._update_average()
        self.loss_sum.add_(loss.detach())
        self._counter.add_(1)
        self.count += 1

    def _set_rate(self) -> None:
        if self._on_device:
            now = self._rates_device.index_select(0, self._counter)[0]
            for rate, factor in zip(self._group_rates, self._factors, strict=True):
                torch.mul(now, factor, out=rate)
        else:
            rate_now = self._rates[min(self.count, len(self._rates) - 1)]
            for group, factor in zip(self.optimizer.param_groups, self._factors, strict=True):
                group["lr"] = factor * rate_now

    def _update_average(self) -> None:
        # The decay grows with the steps, so that the random start is soon forgotten.
        done = self._counter[0].float()
        weight = 1 - torch.clamp((1 + done) / (10 + done), max=self.recipe.ema_decay)
        change = torch._foreach_sub(self._current, self.average)
        torch._foreach_mul_(change, weight)
        torch._foreach_add_(self.average, change)

    def _distilled(self, loss: Tensor, logits: Tensor, x: Tensor) -> Tensor:
        assert self._teacher is not None
        heat, share = self.recipe.temperature, self.recipe.distillation
        with torch.no_grad(), precision(self.recipe, self.device):
            taught = self._teacher(x)
        soft = F.softmax(taught.float() / heat, dim=1)
        return (1 - share) * loss + share * heat**2 * soft_cross_entropy(logits / heat, soft)

    @contextmanager
    def averaged(self) -> Iterator[nn.Module]:
        """Give the network with the averaged weights in place, and put its own back."""
        if not self.average:
            yield self.network
            return
        own = copy_state(self._current)
        assign(self._current, self.average)
        try:
            yield self.network
        finally:
            assign(self._current, own)

    def state_dict(self) -> dict[str, object]:
        """Return what a resumed run needs, tensors and plain values only."""
        return {
            "network": self.network.state_dict(),
            "average": [tensor.clone() for tensor in self.average],
            "optimizer": self.optimizer.state_dict(),
            "count": self.count,
        }

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Continue from `state_dict`'s values."""
        self.network.load_state_dict(state["network"])  # type: ignore[arg-type]
        assign(self.average, [t.to(self.device) for t in state["average"]])  # type: ignore[attr-defined]
        self.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
        if self._on_device:
            self._share_rates(self.optimizer)
        self.count = int(state["count"])  # type: ignore[call-overload]
        self._counter.fill_(self.count)


def decay_groups(parameters: Iterable[Tensor], weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: weights decay; norms, biases and layer scales do not.

    A tensor with one axis longer than 1 is no weight, whatever its number of axes: a family that
    keeps its layer scales as (C, 1, 1) must not decay them where another's (C,) are spared.
    """
    groups: dict[float, list[Tensor]] = {weight_decay: [], 0.0: []}
    for parameter in parameters:
        is_vector = sum(size > 1 for size in parameter.shape) < 2
        groups[0.0 if is_vector else weight_decay].append(parameter)
    return [{"params": held, "weight_decay": decay} for decay, held in groups.items() if held]


def rate_schedule(recipe: Recipe, steps_per_epoch: int, total: int) -> list[float]:
    """Return the learning rate of every step: linear warm-up, then a cosine."""
    warmup = min(recipe.warmup_epochs * steps_per_epoch, total - 1)
    peak, floor = recipe.learning_rate, recipe.learning_rate * recipe.final_rate
    rates = []
    for step in range(total):
        if step < warmup:
            rates.append(peak * (step + 1) / (warmup + 1))
        else:
            done = (step - warmup) / max(1.0, total - warmup)
            rates.append(floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2)
    return rates


def soft_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of logits (N, C) against soft labels (N, C), in float32."""
    return -(targets * F.log_softmax(logits.float(), dim=1)).sum(1).mean()


def precision(recipe: Recipe, device: torch.device) -> torch.autocast:
    """Return the autocast context of a recipe: bfloat16 on CUDA, float32 on the CPU."""
    enabled = device.type == "cuda" and recipe.precision == "bfloat16"
    # The cache of cast weights must not outlive a captured step.
    return torch.autocast(device.type, torch.bfloat16, enabled=enabled, cache_enabled=False)


def copy_state(tensors: list[Tensor]) -> list[Tensor]:
    """Return detached copies with the same memory layout."""
    return [tensor.detach().clone() for tensor in tensors]


@torch.no_grad()
def assign(targets: list[Tensor], values: list[Tensor]) -> None:
    """Copy values into existing tensors."""
    for target, value in zip(targets, values, strict=True):
        target.copy_(value)


def _float_state(network: nn.Module) -> list[Tensor]:
    tensors = [*network.parameters(), *network.buffers()]
    return [tensor.detach() for tensor in tensors if tensor.is_floating_point()]


def to_channels_last(network: nn.Module) -> None:
    """Put the convolutions' weights in NHWC order."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def teacher_of(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a frozen copy of a network in evaluation mode, on the device."""
    teacher = copy.deepcopy(network).to(device).eval()
    for parameter in teacher.parameters():
        parameter.requires_grad_(False)
    return teacher
