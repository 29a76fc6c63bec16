"""What a network costs, counted: the baselines that zero-cost scores have to beat."""

import copy

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from effsearch.accuracy.zero_cost.blocks import WEIGHTED_OPERATORS
from effsearch.accuracy.zero_cost.trace import trace


def counts(module: nn.Module, batch: Tensor) -> dict[str, float]:
    """Counts of a network, none of which depends on its weights.

    Args:
        module: Any network; it is not changed.
        batch: Images (N, 3, R, R), of which only the size of one is read.

    Returns:
        "params"; "macs", the multiply-accumulates of convolutions, linear layers and matrix
        products for one image; "depth", the most convolutions and linear layers on one path from
        the input to the logits.
    """
    net = copy.deepcopy(module).eval()
    like = next(net.parameters(), batch)
    image = batch[:1].to(device=like.device, dtype=like.dtype)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(image)
    return {
        "params": float(sum(p.numel() for p in net.parameters())),
        "macs": counter.get_total_flops() / 2,
        "depth": float(_depth(net, image)),
    }


def _depth(net: nn.Module, image: Tensor) -> int:
    nodes, output = trace(net, image)
    longest: list[int] = []
    for node in nodes:
        weighted = node.name in WEIGHTED_OPERATORS
        longest.append(max((longest[p] for p in node.parents), default=0) + weighted)
    return longest[output]
