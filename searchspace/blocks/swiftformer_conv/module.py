"""SwiftFormer's convolutional block: (N, width, H, W) to the same."""

from __future__ import annotations

from torch import Tensor, nn

from searchspace.layers import LayerScale, Residual, fold_affine_after, fold_norm_after


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


class SwiftFormerConvBlock(ConvEncoder):
    """SwiftFormer's convolutional encoder."""

    def __init__(self, width: int, side: int, *, expansion: float, kernel: int) -> None:
        super().__init__(width, int(width * expansion), kernel)
