"""`swiftformer_conv`: SwiftFormer's convolutional encoder (arXiv 2303.15446)."""

from __future__ import annotations

from searchspace.block_type import BlockType, leading
from searchspace.component import expansion, kernel

BLOCK = BlockType(
    family="SwiftFormer",
    module="searchspace.blocks.swiftformer_conv.module:SwiftFormerConvBlock",
    options={"expansion": expansion(4), "kernel": kernel(3)},
    sharing=leading,
)
