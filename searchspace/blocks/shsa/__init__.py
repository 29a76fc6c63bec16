"""`shsa`: SHViT's single-head self-attention, with more heads as an option (arXiv 2401.16456)."""

from __future__ import annotations

from searchspace.block_type import BlockType, Piece, Share
from searchspace.component import Options, OptionSpec, expansion, heads, kernel


def partial_width(width: int, partial_ratio: float, heads: int = 1) -> int:
    """Channels that attention sees: the multiple of `heads` nearest to `width * partial_ratio`."""
    return max(1, round(width * partial_ratio / heads)) * heads


def heads_fit(width: int, options: Options) -> str | None:
    """Check that there are channels for all heads."""
    count, ratio = options["heads"], options["partial_ratio"]
    assert isinstance(count, int)
    assert isinstance(ratio, float | int)
    if partial_width(width, float(ratio), count) > width:
        return f"heads: {count} heads need {count} channels or more, width {width} has fewer"
    return None


def sharing(width: int, options: Options, key: str) -> Share:
    """Slice queries, keys and values apart."""
    if not key.startswith("mixer.branch.qkv.") or key.endswith("num_batches_tracked"):
        return Share(key)
    count, ratio, qk_dim = options["heads"], options["partial_ratio"], options["qk_dim"]
    assert isinstance(count, int)
    assert isinstance(ratio, int | float)
    assert isinstance(qk_dim, int)
    queries = count * qk_dim
    values = partial_width(width, ratio, count)
    return Share(key, 0, (Piece("q", 0, queries), Piece("k", 0, queries), Piece("v", 0, values)))


BLOCK = BlockType(
    family="SHViT",
    module="searchspace.blocks.shsa.module:SHSABlock",
    options={
        "partial_ratio": OptionSpec(
            "float", 0.2143, 0.01, 1.0, about="attended channels", checked=True
        ),
        "heads": heads(1),
        "qk_dim": OptionSpec("int", 16, 1, 256, about="query and key width of a head"),
        "expansion": expansion(2),
        "kernel": kernel(3),
    },
    attention=True,
    check=heads_fit,
    sharing=sharing,
)
