"""`efficient_mod_attention`: the attention block of hybrid EfficientMod (arXiv 2403.19963)."""

from __future__ import annotations

from searchspace.block_type import BlockType, Piece, Share
from searchspace.component import CHANNELS_LAST, Options, expansion, heads


def head_width(width: int, heads: int) -> int:
    """Channels of a head: `width // heads` but 32 at least, as in the official code."""
    return max(width // heads, 32)


def sharing(width: int, options: Options, key: str) -> Share:
    """Slice queries, keys and values apart."""
    count = options["heads"]
    assert isinstance(count, int)
    inner = count * head_width(width, count)
    if key == "attention.qkv.weight":
        return Share(key, 0, tuple(Piece(part, 0, inner) for part in "qkv"))
    return Share(key)


BLOCK = BlockType(
    family="EfficientMod",
    module="searchspace.blocks.efficient_mod_attention.module:EfficientModAttentionBlock",
    options={"heads": heads(8), "expansion": expansion(4)},
    layout=CHANNELS_LAST,
    attention=True,
    sharing=sharing,
)
