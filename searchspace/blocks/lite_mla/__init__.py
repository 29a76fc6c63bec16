"""`lite_mla`: EfficientViT's multi-scale linear attention (arXiv 2205.14756)."""

from __future__ import annotations

import re

from searchspace.block_type import BlockType, Piece, Share
from searchspace.component import Options, OptionSpec, divides, expansion, heads, kernel


def linear_heads(width: int, heads: int, head_dim: int) -> tuple[int, int]:
    """Return the heads and head width of linear attention where one of them follows the width.

    There is one head at least, wider than the width where that is less than a head's.
    """
    return heads or max(1, width // head_dim), head_dim or width // heads


def heads_fit(width: int, options: Options) -> str | None:
    """Check heads and head width: one of them at least is given, and heads divide the width."""
    count, head_dim = options["heads"], options["head_dim"]
    assert isinstance(count, int)
    assert isinstance(head_dim, int)
    if head_dim == 0:
        if count == 0:
            return "heads: give heads or head_dim, not 0 for both"
        return divides("heads")(width, options)
    return None


def sharing(width: int, options: Options, key: str) -> Share:
    """Slice queries, keys, values and aggregation scales apart."""
    head_count, head_dim, scales = options["heads"], options["head_dim"], options["scales"]
    assert isinstance(head_count, int)
    assert isinstance(head_dim, int)
    assert isinstance(scales, tuple)
    head_count, head_dim = linear_heads(width, head_count, head_dim)
    # Queries, keys and values alternate from head to head. Slicing them by channel, not by head,
    # lets all head counts share all channels.
    by_head = tuple(
        Piece(part, head * head_dim, head_dim) for head in range(head_count) for part in "qkv"
    )
    names = _scale_names(scales)
    if key == "context.branch.qkv.weight":
        return Share(key, 0, by_head)
    found = re.fullmatch(r"context\.branch\.aggregations\.(\d+)\.(\d)\.weight", key)
    if found:
        scale = names[int(found[1])]
        return Share(f"context.branch.aggregations.{scale}.{found[2]}.weight", 0, by_head)
    if key == "context.branch.project.conv.weight":
        inner = head_count * head_dim
        return Share(key, 1, tuple(Piece(name, 0, inner) for name in ("own", *names)))
    return Share(key)


def _scale_names(scales: tuple[int, ...]) -> list[str]:
    return [f"scale{s}x{scales[:i].count(s)}" for i, s in enumerate(scales)]


BLOCK = BlockType(
    family="EfficientViT",
    module="searchspace.blocks.lite_mla.module:LiteMLABlock",
    options={
        "heads": heads(0, low=0, about="0: as many as the width holds"),
        "head_dim": OptionSpec(
            "int", 16, 0, 256, about="0: width over heads", structural=True, checked=True
        ),
        "scales": OptionSpec(
            "ints", (5,), 3, 9, odd=True, about="aggregation kernels", structural=True
        ),
        "expansion": expansion(4),
        "kernel": kernel(3),
    },
    attention=True,
    check=heads_fit,
    sharing=sharing,
)
