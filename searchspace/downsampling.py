"""Downsamplings: entry to a stage at half the resolution and another width."""

from __future__ import annotations

from torch import Tensor, nn

from searchspace.blocks.mbconv.module import InvertedBottleneck
from searchspace.layers import ConvNormAct, FeedForward, Residual, SqueezeExcite, ToLayout
from searchspace.registry import DOWNSAMPLINGS, register
from searchspace.schema import CHANNELS_FIRST, CHANNELS_LAST


class LocalBlock(nn.Sequential):
    """Residual depthwise convolution and FFN, around SHViT's patch merging."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(
            Residual(ConvNormAct(width, width, 3, groups=width, norm_gain=0.0)),
            Residual(FeedForward(width, hidden)),
        )


@register(DOWNSAMPLINGS, "patch_merging")
class PatchMerging(nn.Module):
    """SHViT's downsampling (arXiv 2401.16456, Sec. 3.3).

    An inverted bottleneck with squeeze-and-excitation between two local blocks.

    Shapes: (N, in_width, H, W) to (N, width, ceil(H/2), ceil(W/2)).
    """

    def __init__(
        self, in_width: int, width: int, *, expansion: float, ffn_expansion: float
    ) -> None:
        super().__init__()
        hidden = int(in_width * expansion)
        self.before = LocalBlock(in_width, int(in_width * ffn_expansion))
        self.expand = ConvNormAct(in_width, hidden, act="relu")
        self.depthwise = ConvNormAct(hidden, hidden, 3, 2, groups=hidden, act="relu")
        self.gate = SqueezeExcite(hidden)
        self.project = ConvNormAct(hidden, width)
        self.after = LocalBlock(width, int(width * ffn_expansion))

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.expand(self.before(x)))
        y: Tensor = self.after(self.project(self.gate(x)))
        return y


@register(DOWNSAMPLINGS, "mbconv")
class MBConvDownsample(InvertedBottleneck):
    """EfficientViT's stride-2 inverted bottleneck (arXiv 2205.14756)."""

    def __init__(self, in_width: int, width: int, *, expansion: float, fewer_norm: bool) -> None:
        super().__init__(in_width, width, expansion, 3, 2, fewer_norm)


@register(DOWNSAMPLINGS, "conv_bn")
class ConvBNDownsample(nn.Sequential):
    """3x3 convolution with batch norm (SwiftFormer's embedding, arXiv 2303.15446)."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__(ConvNormAct(in_width, width, 3, 2, bias=True))


@register(DOWNSAMPLINGS, "conv_ln")
class ConvLNDownsample(nn.Module):
    """3x3 convolution with layer norm (EfficientMod, arXiv 2403.19963); channels-last."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.enter = ToLayout(CHANNELS_FIRST)
        self.conv = nn.Conv2d(in_width, width, 3, 2, 1)
        self.leave = ToLayout(CHANNELS_LAST)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.leave(self.conv(self.enter(x))))
        return y
