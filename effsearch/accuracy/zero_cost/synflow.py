"""SynFlow: how much a network passes on when all its weights are positive."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from effsearch.accuracy.zero_cost.roles import is_norm, weights
from effsearch.accuracy.zero_cost.trace import logits

_NORMS = frozenset(
    {"batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"}
)
_CASTS = frozenset({"float", "half", "bfloat16"})
_LOWER = (torch.float32, torch.float16, torch.bfloat16)


def synflow(net: nn.Module, batch: Tensor) -> float:
    """The logarithm of SynFlow: log of the sum over weights of |weight * dR/dweight|.

    Tanaka et al., NeurIPS 2020 (arXiv:2006.05467). R is the sum of the logits for an image of
    ones, with every parameter replaced by its absolute value, norm layers by the identity, and
    all arithmetic in float64, whatever precision the network casts to. Normalisation inside an
    attention (softmax, division by a sum) stays.

    Args:
        net: a network in the state in which it is scored.
        batch: images (N, 3, R, R), of which only the shape is read.

    Returns:
        The score; NaN where it overflows float64 (products of features, as in modulation, square
        at every block) or where no weight reaches the logits.
    """
    positive = copy.deepcopy(net).double().eval()
    for layer in positive.modules():
        if is_norm(layer):
            layer.forward = _identity
    with torch.no_grad():
        for parameter in positive.parameters():
            parameter.abs_()
    image = torch.ones_like(batch[:1], dtype=torch.float64)
    with _Linearised():
        total = logits(positive(image)).sum()
    parameters = weights(positive)
    gradients = torch.autograd.grad(total, parameters, allow_unused=True)
    flow = sum(
        float((p.detach() * g).abs().sum())
        for p, g in zip(parameters, gradients, strict=True)
        if g is not None
    )
    return math.log(flow) if 0 < flow < math.inf else math.nan


class _Linearised(TorchFunctionMode):
    """Makes functional norms the identity and ignores casts to a lower precision."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in _NORMS or (name in _CASTS and isinstance(args[0], Tensor)):
            return args[0]
        # Any dtype asked for that is a float becomes float64.
        args = tuple(
            torch.float64 if isinstance(a, torch.dtype) and a in _LOWER else a for a in args
        )
        if kwargs.get("dtype") in _LOWER:
            kwargs["dtype"] = torch.float64
        return func(*args, **kwargs)


def _identity(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x
