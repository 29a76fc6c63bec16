"""How many trainings a machine or cluster carries at a time, and what each gets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from effsearch.training.cost import cost_of
from effsearch.training.recipe import Recipe
from searchspace import Architecture, build
from searchspace.resolution import height_width

_GIB = 1 << 30
_PROCESS_BYTES = 1 * _GIB  # Python, torch and its libraries
_PER_VALUE_BYTES = 8  # of an activation that is kept for the backward pass, and its gradient
_PER_PARAMETER_BYTES = 24  # weight, average, two moments, gradient and a copy


@dataclass(frozen=True)
class Share:
    """What every training gets.

    Attributes:
        concurrent: trainings at a time.
        cpus: CPU cores of each, as Ray counts them.
        gpus: GPUs of each; a fraction where several share one.
        threads: CPU threads of each.
    """

    concurrent: int
    cpus: float
    gpus: float
    threads: int

    @property
    def device(self) -> str:
        """Where trainings run."""
        return "cuda" if self.gpus else "cpu"

    def text(self) -> str:
        """Return it in words."""
        at_a_time = (
            "one training at a time"
            if self.concurrent == 1
            else (f"{self.concurrent} trainings at a time")
        )
        if self.gpus:
            return f"{at_a_time}, {self.gpus:g} GPU each"
        return f"{at_a_time}, {self.threads} CPU thread{'s' * (self.threads > 1)} each"


def share(
    available: Mapping[str, float],
    networks: int,
    wanted: int | None,
    needed_bytes: int,
    gpu_bytes: int | None = None,
) -> Share:
    """Return how resources are divided.

    Args:
        available: `CPU`, `GPU` and `memory` (bytes), as Ray states them.
        networks: how many are to be trained.
        wanted: trainings at a time; None for what is carried.
        needed_bytes: memory of one training.
        gpu_bytes: memory of one GPU, where it is known.
    """
    cores, gpus = max(1, int(available.get("CPU", 1))), int(available.get("GPU", 0))
    if wanted is None:
        if gpus:
            on_each = 1 if gpu_bytes is None else max(1, int(0.9 * gpu_bytes) // needed_bytes)
            carried = min(gpus * on_each, max(gpus, cores))
        else:
            memory = int(available.get("memory", needed_bytes * cores))
            carried = min(cores, max(1, memory // needed_bytes))
    else:
        carried = wanted
    concurrent = max(1, min(carried, networks))
    # Rounded down to what Ray can count.
    cpus = int(10_000 * cores / concurrent) / 10_000 if concurrent > cores else cores // concurrent
    part = 0.0
    if gpus:
        on_each = -(-concurrent // gpus)
        part = 1.0 if on_each == 1 else int(10_000 / on_each) / 10_000
    return Share(concurrent, float(cpus), part, max(1, cores // concurrent))


def needed_bytes(networks: Sequence[Architecture], recipe: Recipe, images: int) -> int:
    """Return roughly the memory that the largest of some trainings takes.

    Args:
        networks: what is trained.
        recipe: how.
        images: in both splits, kept decoded.
    """
    with torch.device("meta"):
        costs = [cost_of(build(network), recipe.image_side) for network in networks]
    largest = max(
        recipe.batch_size * cost.elements * _PER_VALUE_BYTES + cost.params * _PER_PARAMETER_BYTES
        for cost in costs
    )
    height, width = height_width(recipe.source_side)
    return _PROCESS_BYTES + largest + images * 3 * height * width


def gpu_bytes() -> int | None:
    """Return the memory of this machine's first GPU; None where there is none."""
    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(0).total_memory)
