"""`mbconv`: EfficientViT's inverted bottleneck (arXiv 2205.14756)."""

from __future__ import annotations

from searchspace.block_type import BlockType, leading
from searchspace.component import expansion, kernel

BLOCK = BlockType(
    family="EfficientViT",
    module="searchspace.blocks.mbconv.module:MBConvBlock",
    options={"expansion": expansion(4), "kernel": kernel(3)},
    sharing=leading,
)
