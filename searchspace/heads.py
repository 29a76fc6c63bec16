"""Classification heads: the last feature map to logits (N, num_classes)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from searchspace.layers import ConvNormAct, ToLayout, deployed, fold_into_linear, global_pool
from searchspace.registry import HEADS, register
from searchspace.schema import CHANNELS_FIRST
from searchspace.start import draw_small


def _classifier(width: int, num_classes: int) -> nn.Linear:
    linear = nn.Linear(width, num_classes)
    draw_small(linear)
    return linear


class PoolLinear(nn.Module):
    """Average pooling and one linear layer: the deployed form of the batch-norm heads."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.linear = linear

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(global_pool(x))
        return y


@register(HEADS, "shvit")
class SHViTHead(nn.Module):
    """Pooling, batch norm, linear (SHViT)."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.linear = _classifier(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(self.norm(global_pool(x)))
        return y

    def deploy(self) -> nn.Module:
        """Return the head with its norm folded."""
        return PoolLinear(fold_into_linear(self.linear, before=self.norm))


@register(HEADS, "swiftformer")
class SwiftFormerHead(nn.Module):
    """Batch norm, pooling, linear (SwiftFormer).

    With `distillation` there are two classifiers whose logits are averaged. The official code
    averages in eval mode only and gives both in training, for a teacher; here the mean is what is
    trained too.
    """

    def __init__(self, width: int, num_classes: int, *, distillation: bool) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.linear = _classifier(width, num_classes)
        self.distilled = _classifier(width, num_classes) if distillation else None

    def forward(self, x: Tensor) -> Tensor:
        x = global_pool(self.norm(x))
        y: Tensor = self.linear(x)
        return y if self.distilled is None else (y + self.distilled(x)) / 2

    @torch.no_grad()
    def deploy(self) -> nn.Module:
        """Return one linear layer: both classifiers and the norm are linear."""
        linear = fold_into_linear(self.linear, before=self.norm)
        if self.distilled is not None:
            other = fold_into_linear(self.distilled, before=self.norm)
            linear.weight = nn.Parameter((linear.weight + other.weight) / 2)
            linear.bias = nn.Parameter((linear.bias + other.bias) / 2)
        return PoolLinear(linear)


@register(HEADS, "efficientvit")
class EfficientViTHead(nn.Module):
    """1x1 convolution, pooling, hidden layer with layer norm, linear (EfficientViT)."""

    def __init__(self, width: int, num_classes: int, *, conv_width: int, linear_width: int) -> None:
        super().__init__()
        self.conv: nn.Module = ConvNormAct(width, conv_width, act="hswish")
        self.hidden = nn.Linear(conv_width, linear_width, bias=False)
        self.norm = nn.LayerNorm(linear_width)
        self.act = nn.Hardswish()
        self.linear = _classifier(linear_width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.hidden(global_pool(self.conv(x)))
        y: Tensor = self.linear(self.act(self.norm(x)))
        return y

    def deploy(self) -> nn.Module:
        """Return the head with its batch norm folded."""
        self.conv = deployed(self.conv)
        return self


@register(HEADS, "efficientmod")
class EfficientModHead(nn.Module):
    """Layer norm, pooling, linear (EfficientMod); takes channels-last features."""

    def __init__(self, width: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.layout = ToLayout(CHANNELS_FIRST)
        self.linear = _classifier(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.linear(global_pool(self.layout(self.norm(x))))
        return y
