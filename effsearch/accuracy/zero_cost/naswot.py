"""NASWOT: how differently a network's activations switch on for different images."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

_ACTIVATIONS = frozenset(
    {
        "relu",
        "relu6",
        "leaky_relu",
        "prelu",
        "elu",
        "celu",
        "selu",
        "gelu",
        "silu",
        "mish",
        "hardswish",
        "hardtanh",
        "softplus",
    }
)


def naswot(net: nn.Module, batch: Tensor) -> float:
    """The log-determinant of the kernel of agreeing activation signs.

    Mellor et al., "Neural Architecture Search without Training", ICML 2021 (arXiv:2006.04647):
    K[i, j] counts the units whose pre-activations have one sign for images i and j. Units are the
    inputs of ReLU and its smooth kin (GELU, SiLU, hard-swish, ...), called as modules or functions.

    Args:
        net: a network in the state in which it is scored.
        batch: images (N, 3, R, R), no two equal.

    Returns:
        log|K|; NaN without activations, and where K is singular.
    """
    with torch.no_grad(), _SignKernel(len(batch)) as kernel:
        net(batch)
    if kernel.units == 0:
        return math.nan
    # Signs of +-1 agree in (units + product) / 2 places.
    sign, logdet = np.linalg.slogdet((kernel.units + kernel.products.numpy()) / 2)
    return float(logdet) if sign > 0 and math.isfinite(logdet) else math.nan


class _SignKernel(TorchFunctionMode):
    """Adds up the products of +-1 sign codes at every activation."""

    def __init__(self, images: int) -> None:
        super().__init__()
        self.products = torch.zeros(images, images, dtype=torch.float64)
        self.units = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "").rstrip("_") in _ACTIVATIONS:
            self._add(args[0] if args else kwargs["input"])
        return func(*args, **kwargs)

    def _add(self, inputs: Tensor) -> None:
        images = len(self.products)
        if inputs.ndim == 0 or inputs.shape[0] % images != 0:
            return
        codes = (inputs.reshape(images, -1) > 0).float().mul_(2).sub_(1)
        self.units += codes.shape[1]
        self.products += (codes @ codes.T).double().cpu()
