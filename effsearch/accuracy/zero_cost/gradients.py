"""Scores from the gradients of one or two batches: gradient norm, SNIP and ZiCo."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from effsearch.accuracy.zero_cost.roles import weights
from effsearch.accuracy.zero_cost.trace import logits
from searchspace.errors import UserError

ZICO_CLIP = 100.0
"""Bound of a weight's |mean| / standard deviation of gradients. Over two batches the deviation
can be arbitrarily near zero, and a handful of weights would decide the score."""


def gradient_scores(net: nn.Module, batch: Tensor, labels: Tensor) -> dict[str, float]:
    """Gradient norm and SNIP, from one backward pass.

    The gradient norm is the sum over layers of the Euclidean norm of the cross entropy's gradient
    with respect to the layer's weights (Abdelfattah et al., ICLR 2021, arXiv:2101.08134). SNIP is
    the sum over weights of |weight * gradient| (Lee et al., ICLR 2019, arXiv:1810.02340).

    Args:
        net: a network in the state in which it is scored.
        batch: images (N, 3, R, R).
        labels: classes (N,).

    Returns:
        "grad_norm" and "snip"; NaN where a gradient is not finite or all are zero.
    """
    parameters = weights(net)
    gradients = _gradients(net, batch, labels, parameters)
    norm = sum(float(g.double().norm()) for g in gradients)
    saliency = sum(
        float((p.detach() * g).abs().sum(dtype=torch.float64))
        for p, g in zip(parameters, gradients, strict=True)
    )
    return {"grad_norm": _positive(norm), "snip": _positive(saliency)}


def zico(net: nn.Module, batch: Tensor, labels: Tensor) -> float:
    """ZiCo: the sum over layers of the log of the summed |mean| / deviation of gradients.

    Li et al., "ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients", ICLR 2023
    (arXiv:2301.11300). The batch is split in two halves; each weight's mean absolute gradient over
    its standard deviation is clipped at `ZICO_CLIP`.

    Args:
        net: a network in the state in which it is scored.
        batch: images (N, 3, R, R).
        labels: classes (N,).

    Returns:
        The score; NaN with fewer than 4 images (batch norm has no variance over one), and where a
        gradient is not finite or no layer has one.
    """
    half = len(batch) // 2
    if half < 2:
        return math.nan
    parameters = weights(net)
    first = _gradients(net, batch[:half], labels[:half], parameters)
    second = _gradients(net, batch[half : 2 * half], labels[half : 2 * half], parameters)
    layers = []
    for a, b in zip(first, second, strict=True):
        # Over two batches, mean = (|a| + |b|) / 2 and deviation = |a - b| / 2.
        ratio = (a.abs() + b.abs()).div_((a - b).abs_())
        if not math.isfinite(float(a.sum() + b.sum())):
            return math.nan
        # No deviation: no image reaches the weight, and it says nothing.
        ratio = ratio.nan_to_num_(nan=0, posinf=0).clamp_max_(ZICO_CLIP)
        total = float(ratio.sum(dtype=torch.float64))
        if total > 0:
            layers.append(math.log(total))
    return sum(layers) if layers else math.nan


def _gradients(
    net: nn.Module, batch: Tensor, labels: Tensor, parameters: list[nn.Parameter]
) -> list[Tensor]:
    output = logits(net(batch))
    if not 0 <= int(labels.min()) <= int(labels.max()) < output.shape[1]:
        raise UserError(
            f"labels must be from 0 to {output.shape[1] - 1}, as the network has "
            f"{output.shape[1]} classes, got {int(labels.min())} to {int(labels.max())}"
        )
    loss = cross_entropy(output, labels)
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for g, p in zip(found, parameters, strict=True)]


def _positive(value: float) -> float:
    return value if 0 < value < math.inf else math.nan
