"""EfficientViT's inverted bottleneck: (N, width, H, W) to the same."""

from __future__ import annotations

from torch import Tensor, nn

from searchspace.layers import ConvNormAct, Residual


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


class MBConvBlock(Residual):
    """Residual inverted bottleneck (Cai et al., arXiv 2205.14756, early stages)."""

    def __init__(self, width: int, side: int, *, expansion: float, kernel: int) -> None:
        super().__init__(InvertedBottleneck(width, width, expansion, kernel, norm_gain=0.0))
