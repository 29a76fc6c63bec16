"""Networks made ready for half precision: the same function, in numbers that float16 can hold.

Linear attention and unit lengths don't change where queries, keys or values are scaled, so their
weights take factors that keep all products within float16's range. The factors are powers of two:
in float32 nothing changes but what stands beside the guards against division by zero, which become
the least number that every float16 device tells from zero.
"""

from __future__ import annotations

import copy
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from searchspace.network import Backbone, Network

T = TypeVar("T", bound=Network | Backbone)

_EXPONENTS = (-20, 12)  # of factors: dead weights must not grow without end
LEAST = 2.0**-14  # float16's least normal number; devices may take what is smaller for zero


@runtime_checkable
class Rescalable(Protocol):
    """A module that can scale its own numbers, without a change of what it computes."""

    def rescale(self, x: Tensor) -> None:
        """Scale weights so that what `x`, an input of the module, leads to suits float16."""
        ...


def half_ready(network: T, images: Tensor) -> T:
    """Return a copy of a network that computes the same and suits float16.

    Args:
        network: in eval mode.
        images: (N, 3, H, W) of the kind that it will see; magnitudes are taken from them.
    """
    ready = copy.deepcopy(network)
    ready.eval()
    hooks = [
        module.register_forward_pre_hook(_rescale)
        for module in ready.modules()
        if isinstance(module, Rescalable)
    ]
    try:
        with torch.no_grad():
            ready(images)
    finally:
        for hook in hooks:
            hook.remove()
    return ready


def _rescale(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    assert isinstance(module, Rescalable)
    module.rescale(inputs[0])


def factor_to(target: Tensor, magnitudes: Tensor) -> Tensor:
    """Return the powers of two that bring magnitudes to a target or less; 1 for magnitude 0.

    Factors stay within 2^-20 and 2^12.

    Args:
        target: of a shape that goes with that of `magnitudes`.
        magnitudes: 0 or more.
    """
    safe = torch.where(magnitudes > 0, magnitudes, target)
    return torch.exp2(torch.floor(torch.log2(target / safe)).clamp(*_EXPONENTS))


def float16(x: Tensor) -> Tensor:
    """Round to float16 as a device does that has no subnormal numbers; float32 in and out."""
    rounded = x.half().float()
    return torch.where(rounded.abs() < LEAST, torch.zeros_like(rounded), rounded)
