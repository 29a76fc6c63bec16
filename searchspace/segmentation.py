"""Segmentation heads: maps of several stages to logits (N, num_classes, H/s, W/s).

A head is in two kinds of parts: a lateral for each stage that it uses, which brings that stage's
map to the head's width and stride, and the rest, which adds up what laterals give.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.blocks.mbconv.module import MBConvBlock
from searchspace.layers import ConvNormAct
from searchspace.registry import HEADS, LATERALS, register
from searchspace.start import draw_small


@register(LATERALS, "efficientvit_seg")
class EfficientViTLateral(nn.Module):
    """1x1 convolution of a stage's map, enlarged to the head's stride by bicubic interpolation.

    Shapes: (N, in_width, H, W) to (N, width, factor * H, factor * W).
    """

    def __init__(self, in_width: int, width: int, *, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv: nn.Module = ConvNormAct(in_width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.factor == 1:
            return x
        return F.interpolate(x, scale_factor=self.factor, mode="bicubic", align_corners=False)


@register(HEADS, "efficientvit_seg")
class EfficientViTSegmentationHead(nn.Module):
    """Sum of maps, inverted bottlenecks, expansion, classifier (EfficientViT-Seg).

    Cai et al., arXiv 2205.14756, Sec. 3.2. Shapes: `inputs` maps (N, width, H, W) to
    (N, num_classes, H, W).
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        *,
        inputs: int,
        depth: int,
        expansion: float,
        final_expansion: float,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            MBConvBlock(width, 0, expansion=expansion, kernel=3) for _ in range(depth)
        )
        hidden = round(width * final_expansion) or width
        self.expand = ConvNormAct(width, hidden, act="hswish") if final_expansion else None
        self.classify = nn.Conv2d(hidden, num_classes, 1)
        draw_small(self.classify)

    def forward(self, *maps: Tensor) -> Tensor:
        x = maps[0]
        for other in maps[1:]:
            x = x + other
        for block in self.blocks:
            x = block(x)
        if self.expand is not None:
            x = self.expand(x)
        y: Tensor = self.classify(x)
        return y
