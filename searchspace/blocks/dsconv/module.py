"""EfficientViT's depthwise-separable convolution: (N, width, H, W) to the same."""

from __future__ import annotations

from torch import Tensor, nn

from searchspace.layers import ConvNormAct, Residual


class DepthwiseSeparable(nn.Module):
    """Depthwise, then pointwise convolution (EfficientViT's DSConv), a residual branch."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(width, width, kernel, groups=width, act="hswish")
        self.project = ConvNormAct(width, width, norm_gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.depthwise(x))
        return y


class DSConvBlock(Residual):
    """Residual depthwise separable convolution (Cai et al., arXiv 2205.14756, input stem)."""

    def __init__(self, width: int, side: int, *, kernel: int) -> None:
        super().__init__(DepthwiseSeparable(width, kernel))
