"""How a network begins: one law for every part, which asks what follows a layer.

* Weights before a batch norm, which takes their scale away, come from a normal of 0.02: so small,
  they turn as fast as in the official trainings of EfficientViT and SwiftFormer.
* Other weights keep PyTorch's law (uniform over the fan-in), so that signals keep their size where
  nothing restores it, as in EfficientMod's products. Classifiers come from a normal of 0.02.
* Biases are 0.
* A residual branch begins at nothing or small: the gain of a norm that ends it is 0 (Goyal et al.,
  arXiv 1706.02677), a layer scale is 0.1 (Touvron et al., arXiv 2103.17239, up to 18 blocks).

Families' own starts differ in all of these, so that by a short common recipe one learns faster than
another whatever their designs. `results/outcome` compares the law with them.
"""

from __future__ import annotations

from torch import nn

WEIGHT_STD = 0.02
LAYER_SCALE = 0.1


def draw_small(layer: nn.Conv2d | nn.Linear) -> None:
    """Draw the weights of a layer before a norm, or of a classifier."""
    nn.init.normal_(layer.weight, std=WEIGHT_STD)


def clear_biases(part: nn.Module) -> None:
    """Set the biases of all convolutions and linear layers to 0."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
