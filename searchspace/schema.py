"""What each kind of component takes: option names, ranges, defaults, and what has to divide what.

Free of torch, so that files can be checked without loading it. The classes that implement stems,
downsamplings and heads register under the same names (`searchspace.registry`); a block type says
itself where its class is (`searchspace.block_type`).
"""

from __future__ import annotations

from searchspace.blocks import BLOCKS
from searchspace.blocks.lite_mla import linear_heads
from searchspace.blocks.shsa import partial_width
from searchspace.component import (
    CHANNELS_FIRST,
    CHANNELS_LAST,
    CLASSIFICATION,
    SEGMENTATION,
    ComponentSpec,
    Options,
    OptionSpec,
    OptionValue,
    expansion,
)

__all__ = [
    "BLOCKS",
    "CHANNELS_FIRST",
    "CHANNELS_LAST",
    "CLASSIFICATION",
    "DOWNSAMPLINGS",
    "FAMILIES",
    "HEADS",
    "SEGMENTATION",
    "STEMS",
    "ComponentSpec",
    "OptionSpec",
    "OptionValue",
    "Options",
    "linear_heads",
    "partial_width",
]

STEMS: dict[str, ComponentSpec] = {
    "shvit": ComponentSpec(family="SHViT", strides=(4, 8, 16)),
    "swiftformer": ComponentSpec(family="SwiftFormer", strides=(4, 8, 16)),
    "efficientvit": ComponentSpec(
        family="EfficientViT",
        options={"depth": OptionSpec("int", 1, 0, 4, about="residual DSConv blocks")},
        strides=(2, 4, 8),
    ),
    "efficientmod": ComponentSpec(family="EfficientMod", layout=CHANNELS_LAST, strides=(4, 8)),
}

DOWNSAMPLINGS: dict[str, ComponentSpec] = {
    "patch_merging": ComponentSpec(
        family="SHViT",
        options={
            "expansion": OptionSpec("float", 4.0, 1, 8, about="hidden width over input width"),
            "ffn_expansion": OptionSpec("float", 2.0, 0.5, 8, about="of the two FFNs around it"),
        },
    ),
    "mbconv": ComponentSpec(
        family="EfficientViT",
        options={
            "expansion": expansion(4),
            "fewer_norm": OptionSpec(
                "bool", False, about="norm after the last convolution only", structural=True
            ),
        },
    ),
    "conv_ln": ComponentSpec(family="EfficientMod", layout=CHANNELS_LAST),
    "conv_bn": ComponentSpec(family="SwiftFormer"),
}

HEADS: dict[str, ComponentSpec] = {
    "shvit": ComponentSpec(family="SHViT"),
    "swiftformer": ComponentSpec(
        family="SwiftFormer",
        options={
            "distillation": OptionSpec(
                "bool", True, about="a second, averaged classifier", structural=True
            )
        },
    ),
    "efficientvit": ComponentSpec(
        family="EfficientViT",
        options={
            "conv_width": OptionSpec("int", 1024, 8, 8192, about="1x1 convolution before pooling"),
            "linear_width": OptionSpec("int", 1280, 8, 8192, about="hidden layer after pooling"),
        },
    ),
    "efficientmod": ComponentSpec(family="EfficientMod", layout=CHANNELS_LAST),
    "efficientvit_seg": ComponentSpec(
        family="EfficientViT",
        task=SEGMENTATION,
        options={
            "stages": OptionSpec("int", 3, 1, 6, about="how many of the last stages it uses"),
            "stride": OptionSpec("int", 8, 2, 64, about="of its maps and logits over the image"),
            "width": OptionSpec("int", 32, 8, 1024, about="channels that maps are brought to"),
            "depth": OptionSpec("int", 3, 0, 16, about="inverted bottlenecks"),
            "expansion": expansion(4),
            "final_expansion": OptionSpec(
                "float", 4.0, 0, 8, about="before the classifier, over its width; 0 for none"
            ),
            "classes": OptionSpec("int", 19, 1, 65536, about="that it is counted and priced with"),
        },
    ),
}

FAMILIES: tuple[str, ...] = ("SHViT", "EfficientMod", "SwiftFormer", "EfficientViT")
