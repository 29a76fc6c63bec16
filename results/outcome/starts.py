"""Starts of a network to compare with the shipped law (`searchspace.start`).

The sources of `official` are the model code and the training scripts of the four families:

* SHViT (arXiv 2401.16456): convolutions as PyTorch draws them; gain 0 of the last norm of every
  residual branch of a block; classifier from a normal of 0.02, without bias.
* EfficientViT (arXiv 2205.14756): all weights from a normal of 0.02, biases 0; the training script
  sets the last gain of every residual branch to 0.
* EfficientMod (arXiv 2403.19963): linear layers from a normal of 0.02, biases 0; convolutions as
  PyTorch draws them; layer scales of 1e-4, none in its attention blocks.
* SwiftFormer (arXiv 2303.15446): all weights from a normal of 0.02, biases 0; layer scales of 1 in
  convolutional encoders, 1e-5 around attention and its MLP; attention's scores from a normal of 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from torch import nn

from searchspace import Network
from searchspace.blocks.additive_attention.module import AdditiveAttention, AdditiveAttentionBlock
from searchspace.blocks.efficient_mod.module import EfficientModBlock
from searchspace.blocks.efficient_mod_attention.module import EfficientModAttentionBlock
from searchspace.blocks.swiftformer_conv.module import ConvEncoder
from searchspace.downsampling import LocalBlock
from searchspace.layers import ConvNormAct, LayerScale
from searchspace.units import units

_EFFICIENTVIT = {"lite_mla", "mbconv", "dsconv", "efficientvit"}
_EFFICIENTMOD = {"efficient_mod", "efficient_mod_attention", "conv_ln", "efficientmod"}
_SWIFTFORMER = {"swiftformer_conv", "additive_attention", "conv_bn", "swiftformer"}


def shipped(network: Network) -> None:
    """Leaves a network as `build` gives it."""


def official(network: Network) -> None:
    """Starts every part of a network as its family's official training does."""
    for kind, part in parts(network):
        scale_as_published(part)
        if kind in _EFFICIENTVIT:
            draw(part, (nn.Conv2d, nn.Linear))
        elif kind in _EFFICIENTMOD:
            reset(part, nn.Conv2d)
            draw(part, (nn.Linear,))
        elif kind in _SWIFTFORMER:
            draw(part, (nn.Conv2d, nn.Linear))
            for module in part.modules():
                if isinstance(module, AdditiveAttention):
                    nn.init.normal_(module.score)
        else:  # SHViT
            reset(part, nn.Conv2d)
            draw(part, (nn.Linear,))
            ungate_local_blocks(part)


def default_weights(network: Network) -> None:
    """Starts all parts by another one law: weights as PyTorch draws them.

    They are uniform over the fan-in, with biases 0, a classifier from a normal of 0.02, and every
    residual branch at nothing: its last gain, layer scale or projection is 0.
    """
    for _, part in parts(network):
        reset(part, nn.Conv2d, nn.Linear)
        for module in part.modules():
            if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)
            elif isinstance(module, LayerScale):
                nn.init.zeros_(module.gamma)
            elif isinstance(module, EfficientModAttentionBlock):
                nn.init.zeros_(module.attention.project.weight)
                nn.init.zeros_(module.project.weight)
    for name in ("linear", "distilled"):
        classifier = getattr(network.head, name, None)
        if classifier is not None:
            nn.init.trunc_normal_(classifier.weight, std=0.02)


def all_small(network: Network) -> None:
    """Starts all parts by a third law: all weights from a normal of 0.02, layer scales closed."""
    for _, part in parts(network):
        draw(part, (nn.Conv2d, nn.Linear))
        for module in part.modules():
            if isinstance(module, LayerScale):
                nn.init.zeros_(module.gamma)


def unequal(network: Network) -> None:
    """Starts parts as `build` once did: PyTorch's weights, zero gains in SHViT's blocks only."""
    for kind, part in parts(network):
        scale_as_published(part)
        reset(part, nn.Conv2d, nn.Linear)
        if kind in _EFFICIENTVIT:
            for module in part.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.ones_(module.weight)
        ungate_local_blocks(part)


STARTS: dict[str, Callable[[Network], None]] = {
    "shipped": shipped,
    "official": official,
    "default_weights": default_weights,
    "all_small": all_small,
    "unequal": unequal,
}


def parts(network: Network) -> Iterator[tuple[str, nn.Module]]:
    """Yields the component type and the module of every part."""
    for placed in units(network.architecture, network.num_classes):
        if placed.unit.role != "layout":
            yield placed.unit.type, network.get_submodule(placed.name)


def draw(part: nn.Module, kinds: tuple[type[nn.Module], ...], std: float = 0.02) -> None:
    """Draws the weights of some layers from a normal and zeroes their biases."""
    for module in part.modules():
        if isinstance(module, kinds):
            assert isinstance(module, nn.Conv2d | nn.Linear)
            nn.init.trunc_normal_(module.weight, std=std)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def reset(part: nn.Module, *kinds: type[nn.Conv2d] | type[nn.Linear]) -> None:
    """Draws weights and biases of some layers as PyTorch does by default."""
    for module in part.modules():
        if isinstance(module, kinds):
            module.reset_parameters()


def scale_as_published(part: nn.Module) -> None:
    """Gives layer scales the values that their families publish."""
    for module in part.modules():
        if isinstance(module, EfficientModBlock):
            fill(module.scale, 1e-4)
        elif isinstance(module, ConvEncoder):
            fill(module.scale, 1.0)
        elif isinstance(module, AdditiveAttentionBlock):
            fill(module.mixer_scale, 1e-5)
            fill(module.mlp_scale, 1e-5)


def fill(scale: nn.Module, value: float) -> None:
    """Sets a layer scale."""
    assert isinstance(scale, LayerScale)
    nn.init.constant_(scale.gamma, value)


def ungate_local_blocks(part: nn.Module) -> None:
    """Gives the depthwise convolutions around SHViT's patch merging their official gain of 1."""
    for module in part.modules():
        if isinstance(module, LocalBlock):
            depthwise = module[0].branch
            assert isinstance(depthwise, ConvNormAct)
            assert depthwise.norm is not None
            nn.init.ones_(depthwise.norm.weight)
