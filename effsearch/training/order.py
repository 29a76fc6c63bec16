"""The order of the images in an epoch, and seeds that depend on several numbers."""

from __future__ import annotations

import torch
from torch import Tensor


def epoch_order(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the images in an epoch: a permutation fixed by seed and epoch."""
    generator = torch.Generator().manual_seed(mix_seed(seed, epoch))
    return torch.randperm(count, generator=generator)


def mix_seed(*parts: int) -> int:
    """Return a 63-bit seed that depends on every part."""
    value = 0x9E3779B97F4A7C15
    for part in parts:
        value = ((value ^ (part & 0xFFFFFFFF)) * 0xBF58476D1CE4E5B9) & 0xFFFFFFFFFFFFFFFF
        value ^= value >> 29
    return value >> 1
