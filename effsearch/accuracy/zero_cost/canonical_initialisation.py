"""One initialisation for every network, so that scores compare designs and not starting points.

Published networks start blocks at zero norm gain (SHViT) or scale them by 1e-5 or 1e-4
(SwiftFormer, EfficientMod): their gradients are then zero or tiny, whatever the design. Here
every gain and layer scale is 1, every bias 0, and every weight is drawn from one law, the normal
of He et al. (2015, arXiv:1502.01852) over the fan-in, with the gain of a ReLU.
"""

import copy
import math

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from effsearch.accuracy.zero_cost.roles import Role, named_roles


def canonical_copy(module: nn.Module, seed: int = 0) -> nn.Module:
    """A float32 copy of a network in the state in which it is scored.

    The copy is canonically initialised and in evaluation mode, so that dropout and stochastic
    depth are off, except batch norm, which normalises by the statistics of the batch. All its
    floating-point parameters require gradients. The module itself is left as it is.

    Args:
        module: any network.
        seed: of the weights.
    """
    duplicate = copy.deepcopy(module).float()
    initialise_(duplicate, seed)
    duplicate.eval()
    for layer in duplicate.modules():
        if isinstance(layer, _BatchNorm):
            layer.train()
    for parameter in duplicate.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
        parameter.grad = None
    return duplicate


@torch.no_grad()
def initialise_(module: nn.Module, seed: int = 0) -> None:
    """Initialise a network in place: gains and layer scales 1, biases 0, weights He normal.

    Args:
        module: the network to change.
        seed: of the weights. They are drawn on the CPU, so the device does not change them.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, parameter, owner, role in named_roles(module):
        if role is Role.GAIN:
            parameter.fill_(1)
        elif role is Role.BIAS:
            parameter.zero_()
        else:
            std = math.sqrt(2 / _fan_in(name, parameter, owner))
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.reset_running_stats()


def _fan_in(name: str, parameter: nn.Parameter, owner: nn.Module) -> int:
    shape = parameter.shape
    if isinstance(owner, _ConvNd) and owner.transposed:
        return max(1, parameter.numel() // (int(shape[1]) * owner.groups))
    if isinstance(owner, (_ConvNd, nn.Linear, nn.Bilinear)) or name.endswith("weight"):
        return max(1, parameter.numel() // shape[0])
    # A free matrix does not say which side is its input; the larger keeps activations bounded.
    return max(1, *map(int, shape))
