"""Candidate starts of a network: as its families' official trainings begin it, and one law for all.

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
from searchspace.blocks.additive_attention import AdditiveAttention
from searchspace.blocks.convolution import DepthwiseSeparable, InvertedBottleneck
from searchspace.blocks.efficient_mod import EfficientModAttentionBlock
from searchspace.blocks.lite_mla import LiteMLA
from searchspace.blocks.shsa import PartialSelfAttention
from searchspace.layers import ConvNormAct, FeedForward, LayerScale, Residual
from searchspace.units import units

_EFFICIENTVIT = {"lite_mla", "mbconv", "dsconv", "efficientvit"}
_EFFICIENTMOD = {"efficient_mod", "efficient_mod_attention", "conv_ln", "efficientmod"}
_SWIFTFORMER = {"swiftformer_conv", "additive_attention", "conv_bn", "swiftformer"}


def as_built(network: Network) -> None:
    """Leaves a network as `build` gives it."""


def official(network: Network) -> None:
    """Starts every part of a network as its family's official training does."""
    for kind, part in parts(network):
        if kind in _EFFICIENTVIT:
            draw(part, (nn.Conv2d, nn.Linear))
            for branch in residual_branches(part):
                zero_last_gain(branch)
        elif kind in _EFFICIENTMOD:
            draw(part, (nn.Linear,))
        elif kind in _SWIFTFORMER:
            draw(part, (nn.Conv2d, nn.Linear))
            for module in part.modules():
                if isinstance(module, AdditiveAttention):
                    nn.init.normal_(module.score)
        else:  # SHViT
            draw(part, (nn.Linear,))


def common(network: Network) -> None:
    """Starts all parts by one law.

    Weights as PyTorch draws them (uniform over fan-in), biases 0, the classifier from a normal of
    0.02, and every residual branch at nothing: its last gain, layer scale or projection is 0.
    """
    for _, part in parts(network):
        for module in part.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)) and module.bias is not None:
                nn.init.zeros_(module.bias)
        start_residuals_at_nothing(part)
    for name in ("linear", "distilled"):
        classifier = getattr(network.head, name, None)
        if classifier is not None:
            nn.init.trunc_normal_(classifier.weight, std=0.02)


def zero_gains(network: Network) -> None:
    """Zeroes the last gain of every residual branch and leaves the rest as `build` gives it."""
    for _, part in parts(network):
        for branch in residual_branches(part):
            zero_last_gain(branch)


def normal(network: Network) -> None:
    """As `common`, with all weights from a normal of 0.02."""
    for _, part in parts(network):
        draw(part, (nn.Conv2d, nn.Linear))
        start_residuals_at_nothing(part)


STARTS: dict[str, Callable[[Network], None]] = {
    "as_built": as_built,
    "official": official,
    "common": common,
    "zero_gains": zero_gains,
    "normal": normal,
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


def residual_branches(part: nn.Module) -> Iterator[nn.Module]:
    """Yields the branches of a part's residual sums."""
    for module in part.modules():
        if isinstance(module, Residual):
            yield module.branch


def start_residuals_at_nothing(part: nn.Module) -> None:
    """Zeroes what ends every residual branch: gain, layer scale or projection."""
    for module in part.modules():
        if isinstance(module, LayerScale):
            nn.init.zeros_(module.gamma)
        elif isinstance(module, EfficientModAttentionBlock):
            nn.init.zeros_(module.attention.project.weight)
            nn.init.zeros_(module.project.weight)
    for branch in residual_branches(part):
        zero_last_gain(branch)


def zero_last_gain(branch: nn.Module) -> None:
    """Zeroes the gain of the norm that ends a branch."""
    last = branch
    if isinstance(
        branch, (InvertedBottleneck, DepthwiseSeparable, LiteMLA, FeedForward, PartialSelfAttention)
    ):
        last = branch.project
    assert isinstance(last, ConvNormAct)
    assert last.norm is not None
    nn.init.zeros_(last.norm.weight)
