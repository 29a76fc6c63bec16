"""Convolutional blocks: those that the four families use beside their token mixers.

All map (N, width, H, W) to the same shape.
"""

from __future__ import annotations

from torch import Tensor, nn

from searchspace.layers import (
    ConvNormAct,
    FeedForward,
    LayerScale,
    Residual,
    fold_affine_after,
    fold_norm_after,
)
from searchspace.registry import BLOCKS, register


class InvertedBottleneck(nn.Module):
    """Pointwise expansion, depthwise convolution, pointwise projection (EfficientViT's MBConv).

    Shapes: (N, in_width, H, W) to (N, width, ceil(H/stride), ceil(W/stride)).

    Args:
        in_width: input channels.
        width: output channels.
        expansion: hidden over input width.
        kernel: depthwise kernel.
        stride: stride of the depthwise convolution.
        fewer_norm: biases in place of the first two norms, as the official attention stages have.
        norm_gain: initial gain of the last norm; 0 where a residual sum follows.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        expansion: float,
        kernel: int = 3,
        stride: int = 1,
        fewer_norm: bool = False,
        norm_gain: float = 1.0,
    ) -> None:
        super().__init__()
        hidden = round(in_width * expansion)
        plain = {"bias": fewer_norm, "norm": not fewer_norm}
        self.expand = ConvNormAct(in_width, hidden, act="hswish", **plain)
        self.depthwise = ConvNormAct(
            hidden, hidden, kernel, stride, groups=hidden, act="hswish", **plain
        )
        self.project = ConvNormAct(hidden, width, norm_gain=norm_gain)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(self.expand(x)))
        return y


class DepthwiseSeparable(nn.Module):
    """Depthwise, then pointwise convolution (EfficientViT's DSConv), a residual branch."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(width, width, kernel, groups=width, act="hswish")
        self.project = ConvNormAct(width, width, norm_gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(x))
        return y


@register(BLOCKS, "mbconv")
class MBConvBlock(Residual):
    """Residual inverted bottleneck (Cai et al., arXiv 2205.14756, early stages)."""

    def __init__(self, width: int, side: int, *, expansion: float, kernel: int) -> None:
        super().__init__(InvertedBottleneck(width, width, expansion, kernel, norm_gain=0.0))


@register(BLOCKS, "dsconv")
class DSConvBlock(Residual):
    """Residual depthwise separable convolution (Cai et al., arXiv 2205.14756, input stem)."""

    def __init__(self, width: int, side: int, *, kernel: int) -> None:
        super().__init__(DepthwiseSeparable(width, kernel))


@register(BLOCKS, "shvit_conv")
class SHViTConvBlock(nn.Module):
    """SHViT's attention-free early block (Yun and Ro, arXiv 2401.16456, Sec. 3.3)."""

    def __init__(self, width: int, side: int, *, expansion: float, kernel: int) -> None:
        super().__init__()
        self.conv = Residual(ConvNormAct(width, width, kernel, groups=width, norm_gain=0.0))
        self.ffn = Residual(FeedForward(width, int(width * expansion)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.ffn(self.conv(x))
        return y


class ConvEncoder(nn.Module):
    """Depthwise convolution and a pointwise MLP with layer scale, residual.

    SwiftFormer's convolutional encoder and, with `hidden` equal to the width, its local
    representation (Shaker et al., arXiv 2303.15446, Sec. 3.3).
    """

    def __init__(self, width: int, hidden: int, kernel: int = 3) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.expand = nn.Conv2d(width, hidden, 1)
        self.act = nn.GELU()
        self.project = nn.Conv2d(hidden, width, 1)
        self.scale: nn.Module = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x))
        branch: Tensor = self.scale(self.project(self.act(self.expand(y))))
        return x + branch

    def deploy(self) -> nn.Module:
        """Return the block with its norm and layer scale folded."""
        assert isinstance(self.scale, LayerScale)
        depthwise = fold_norm_after(self.depthwise, self.norm)
        project = fold_affine_after(self.project, self.scale.gamma)
        return Residual(nn.Sequential(depthwise, self.expand, self.act, project))


@register(BLOCKS, "swiftformer_conv")
class SwiftFormerConvBlock(ConvEncoder):
    """SwiftFormer's convolutional encoder."""

    def __init__(self, width: int, side: int, *, expansion: float, kernel: int) -> None:
        super().__init__(width, int(width * expansion), kernel)
