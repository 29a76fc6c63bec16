"""The blocks of the space, one module a family. Importing this registers them all."""

from searchspace.blocks import (
    additive_attention,
    convolution,
    efficient_mod,
    lite_mla,
    shsa,
)

__all__ = ["additive_attention", "convolution", "efficient_mod", "lite_mla", "shsa"]
