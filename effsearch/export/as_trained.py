"""`as_trained`: an untrained network whose numbers have the size of a trained one's, for timing.

Some processors take ten to a hundred times as long for subnormal numbers (below 1e-38 in float32).
A network as training begins it makes such numbers: its small weights shrink the signal from layer
to layer, and linear attention multiplies three of them. No trained network does, for its batch
norms have seen its own signals.
"""

from __future__ import annotations

import torch
from torch import nn

from searchspace import Architecture, Network, build
from searchspace.resolution import height_width

_IMAGES = 2
_BRANCH = 0.2  # the gain of residual branches, which begin at 0: small, as layer scales are


def as_trained(architecture: Architecture, seed: int = 0) -> Network:
    """Return a network of random weights to be timed, in eval mode.

    Batch norms hold the statistics of random images, and no residual branch is silent.

    Args:
        architecture: the network.
        seed: of weights and images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build(architecture)
        images = torch.randn(_IMAGES, 3, *height_width(architecture.resolution))
    norms = [
        part for part in network.modules() if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d)
    ]
    for norm in norms:
        norm.momentum = None  # the plain mean over the batches seen: of these images alone
        with torch.no_grad():
            norm.weight[norm.weight == 0] = _BRANCH
    with torch.no_grad():
        network.train()(images)
    return network.eval()
