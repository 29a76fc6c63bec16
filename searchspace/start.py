"""How weights begin: one law for every part of a network.

All weights come from a normal of 0.02 and all biases are 0. The official trainings of EfficientViT
and SwiftFormer draw all their weights so, EfficientMod's its linear layers, SHViT's its classifier.
Residual branches begin at or near nothing: the gain of a norm that ends one is 0, and branches that
end with a layer scale begin at the published 1e-4 or 1e-5, or small through their weights. Parts
that begin alike can be mixed, and one learning rate moves all of them at the same pace.
`results/outcome` compares the law with the families' own.
"""

from __future__ import annotations

from torch import nn

WEIGHT_STD = 0.02


def begin(part: nn.Module) -> None:
    """Draw the weights of a part's convolutions and linear layers; its gains stay as they are."""
    for module in part.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=WEIGHT_STD)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
