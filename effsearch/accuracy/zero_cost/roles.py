"""What each parameter of an arbitrary network is for, told from where it sits and its shape.

Scores have to know a layer scale from a weight without knowing the network's classes.
"""

import enum
from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

_NORM_TYPES: tuple[type[nn.Module], ...] = (
    _NormBase,
    nn.LayerNorm,
    nn.GroupNorm,
    nn.LocalResponseNorm,
    *([nn.RMSNorm] if hasattr(nn, "RMSNorm") else []),
)
_WEIGHTED_TYPES: tuple[type[nn.Module], ...] = (_ConvNd, nn.Linear, nn.Bilinear)


class Role(enum.Enum):
    """The part that a parameter plays."""

    WEIGHT = "weight"
    BIAS = "bias"
    GAIN = "gain"
    """The gain of a norm, or a layer scale: multiplies channels one by one."""


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises and does nothing else.

    Besides torch's own norms, classes written by hand count when their name says "norm" and they
    hold no convolution or linear layer ("ConvNorm" and "PreNorm" wrappers do).
    """
    if isinstance(module, _NORM_TYPES):
        return True
    if "norm" not in type(module).__name__.lower():
        return False
    return not any(isinstance(m, _WEIGHTED_TYPES) for m in module.modules())


def is_layer_scale(shape: tuple[int, ...]) -> bool:
    """Whether a free parameter of this shape scales channels: (), (C,), (C, 1, 1), (1, C, 1, 1)...

    A matrix with one row or column, (C, 1), is a weight.
    """
    return len(shape) != 2 and sum(size > 1 for size in shape) <= 1


def named_roles(module: nn.Module) -> Iterator[tuple[str, nn.Parameter, nn.Module, Role]]:
    """Yield every floating-point parameter once: (name, parameter, owner, role)."""
    seen: set[int] = set()
    norms: list[str] = []
    for path, owner in module.named_modules():
        inside_norm = any(path == n or path.startswith(f"{n}.") for n in norms)
        if not inside_norm and path and is_norm(owner):
            norms.append(path)
            inside_norm = True
        inside_norm = inside_norm or (not path and is_norm(owner))
        for name, parameter in owner.named_parameters(recurse=False):
            if id(parameter) in seen or not parameter.is_floating_point():
                continue
            seen.add(id(parameter))
            full_name = f"{path}.{name}" if path else name
            yield full_name, parameter, owner, _role(name, parameter, owner, inside_norm)


def weights(module: nn.Module) -> list[nn.Parameter]:
    """The parameters that connect features: convolution and linear weights, and free matrices."""
    return [p for _, p, _, role in named_roles(module) if role is Role.WEIGHT]


def _role(name: str, parameter: nn.Parameter, owner: nn.Module, inside_norm: bool) -> Role:
    if "bias" in name or "beta" in name:
        return Role.BIAS
    if inside_norm:
        return Role.GAIN
    if isinstance(owner, _WEIGHTED_TYPES):
        return Role.WEIGHT
    return Role.GAIN if is_layer_scale(tuple(parameter.shape)) else Role.WEIGHT
