"""`shvit_conv`: SHViT's attention-free early block (arXiv 2401.16456)."""

from __future__ import annotations

from searchspace.block_type import BlockType, leading
from searchspace.component import expansion, kernel

BLOCK = BlockType(
    family="SHViT",
    module="searchspace.blocks.shvit_conv.module:SHViTConvBlock",
    options={"expansion": expansion(2), "kernel": kernel(3)},
    sharing=leading,
)
