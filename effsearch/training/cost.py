"""Networks with fresh weights, and what training them costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from searchspace import Architecture, Network, build
from searchspace.resolution import Resolution, height_width


def build_network(architecture: Architecture, num_classes: int, seed: int = 0) -> Network:
    """Build a network with freshly drawn weights; the seed fixes them."""
    torch.manual_seed(seed)
    return build(architecture, num_classes=num_classes)


@dataclass(frozen=True)
class Cost:
    """Size of a network at one input side.

    Attributes:
        params: number of parameters.
        macs: multiply-accumulates of one image.
        elements: values that its leaf modules put out for one image.
    """

    params: int
    macs: int
    elements: int

    @property
    def step_us(self) -> float:
        """A rough GPU time of training on one image, in µs, to order and plan by.

        Memory traffic of some eight passes over 2-byte activations at 3 TB/s, and three times the
        forward arithmetic at 100 TFLOP/s.
        """
        return self.elements * 16 / 3e6 + self.macs * 6 / 1e8


def cost_of(network: nn.Module, side: Resolution) -> Cost:
    """Count a network by one forward pass; on the meta device nothing is computed.

    Args:
        network: maps (N, 3, H, W) to logits.
        side: of the image in px, or its height and width.
    """
    elements = 0

    def count(module: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal elements
        if isinstance(output, Tensor):
            elements += output.numel()

    leaves = [m for m in network.modules() if not any(True for _ in m.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves]
    was_training = network.training
    device = next(network.parameters()).device
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network.eval()(torch.zeros(1, 3, *height_width(side), device=device))
    finally:
        for hook in hooks:
            hook.remove()
        network.train(was_training)
    params = sum(parameter.numel() for parameter in network.parameters())
    return Cost(params, counter.get_total_flops() // 2, elements)
