"""`additive_attention`: SwiftFormer's efficient additive attention (arXiv 2303.15446)."""

from __future__ import annotations

from searchspace.block_type import BlockType, leading
from searchspace.component import expansion, heads, kernel

BLOCK = BlockType(
    family="SwiftFormer",
    module="searchspace.blocks.additive_attention.module:AdditiveAttentionBlock",
    options={"heads": heads(1), "expansion": expansion(4), "kernel": kernel(3)},
    attention=True,
    sharing=leading,
)
