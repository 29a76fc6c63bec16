"""`efficient_mod`: EfficientMod's modulation block (arXiv 2403.19963)."""

from __future__ import annotations

from searchspace.block_type import BlockType, Piece, Share
from searchspace.component import CHANNELS_LAST, Options, OptionSpec, kernel


def sharing(width: int, options: Options, key: str) -> Share:
    """Slice what the value branch widens to group by group of `width` channels."""
    expansion = options["expansion"]
    assert isinstance(expansion, int)
    groups = tuple(Piece(f"group{group}", 0, width) for group in range(expansion))
    if key in ("value.weight", "value.bias"):
        return Share(key, 0, groups)
    return Share(key, 1, groups) if key == "project.weight" else Share(key)


BLOCK = BlockType(
    family="EfficientMod",
    module="searchspace.blocks.efficient_mod.module:EfficientModBlock",
    options={
        "expansion": OptionSpec(
            "ints", (1, 6), 1, 8, about="pattern over the blocks", pattern=True
        ),
        "kernel": kernel(7),
    },
    layout=CHANNELS_LAST,
    sharing=sharing,
)
