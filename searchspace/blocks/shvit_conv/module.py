"""SHViT's convolutional block: (N, width, H, W) to the same."""

from __future__ import annotations

from torch import Tensor, nn

from searchspace.layers import ConvNormAct, FeedForward, Residual


class SHViTConvBlock(nn.Module):
    """SHViT's attention-free early block (Yun and Ro, arXiv 2401.16456, Sec. 3.3)."""

    def __init__(self, width: int, side: int, *, expansion: float, kernel: int) -> None:
        super().__init__()
        self.conv = Residual(ConvNormAct(width, width, kernel, groups=width, norm_gain=0.0))
        self.ffn = Residual(FeedForward(width, int(width * expansion)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.ffn(self.conv(x))
        return y
