"""`dsconv`: EfficientViT's depthwise-separable convolution (arXiv 2205.14756)."""

from __future__ import annotations

from searchspace.block_type import BlockType, leading
from searchspace.component import kernel

BLOCK = BlockType(
    family="EfficientViT",
    module="searchspace.blocks.dsconv.module:DSConvBlock",
    options={"kernel": kernel(3)},
    sharing=leading,
)
