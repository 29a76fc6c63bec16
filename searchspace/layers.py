"""The layers that several families share, each with its deployed form.

A layer with a `deploy()` method returns the module that inference runs in its stead: the same
function in eval mode, with norms, layer scales and residual depthwise convolutions folded into
convolution weights.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.schema import CHANNELS_FIRST, CHANNELS_LAST
from searchspace.start import LAYER_SCALE, draw_small

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "hswish": nn.Hardswish,
}


class ConvNormAct(nn.Module):
    """Convolution, then batch norm and an activation where asked for.

    Shapes: (N, in_width, H, W) to (N, width, ceil(H/stride), ceil(W/stride)).

    Args:
        in_width: input channels.
        width: output channels.
        kernel: odd side of the kernel; padding keeps the size.
        stride: stride.
        groups: channel groups.
        bias: whether the convolution has a bias of its own.
        norm: whether batch norm follows.
        act: name of an activation, or None.
        norm_gain: initial gain of the norm; 0 starts a residual branch at nothing.
    """

    def __init__(
        self,
        in_width: int,
        width: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        *,
        bias: bool = False,
        norm: bool = True,
        act: str | None = None,
        norm_gain: float = 1.0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_width, width, kernel, stride, kernel // 2, groups=groups, bias=bias
        )
        self.norm = nn.BatchNorm2d(width) if norm else None
        self.act = ACTIVATIONS[act]() if act else None
        if self.norm is not None:
            draw_small(self.conv)
            nn.init.constant_(self.norm.weight, norm_gain)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.act is None else self.act(x)

    def deploy(self) -> nn.Module:
        """Return the convolution with the norm folded in, and the activation."""
        conv = self.conv if self.norm is None else fold_norm_after(self.conv, self.norm)
        return conv if self.act is None else nn.Sequential(conv, self.act)


class Residual(nn.Module):
    """`x + branch(x)`."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.branch(x)
        return y

    def deploy(self) -> nn.Module:
        """Return a single convolution where the branch is a linear depthwise one."""
        branch = deployed(self.branch)
        if (
            isinstance(branch, nn.Conv2d)
            and branch.groups == branch.in_channels == branch.out_channels
            and branch.stride == (1, 1)
        ):
            centre = branch.kernel_size[0] // 2
            merged = copy_conv(branch)
            if branch.weight.is_meta:
                return merged
            weight = branch.weight.detach().clone()
            weight[:, :, centre, centre] += 1
            merged.weight = nn.Parameter(weight)
            merged.bias = branch.bias
            return merged
        return Residual(branch)


class LayerScale(nn.Module):
    """Learned gain per channel.

    Args:
        width: channels.
        layout: where the channel axis is.
    """

    def __init__(self, width: int, layout: str = CHANNELS_FIRST) -> None:
        super().__init__()
        shape = (width, 1, 1) if layout == CHANNELS_FIRST else (width,)
        self.gamma = nn.Parameter(torch.full(shape, LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class SqueezeExcite(nn.Module):
    """Channel gate from globally pooled features (Hu et al., arXiv 1709.01507)."""

    def __init__(self, width: int, reduction: float = 0.25) -> None:
        super().__init__()
        reduced = max(8, int(width * reduction + 4) // 8 * 8)  # a multiple of 8, as in SHViT
        self.reduce = nn.Conv2d(width, reduced, 1)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(reduced, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.expand(self.act(self.reduce(x.mean((2, 3), keepdim=True))))
        return x * torch.sigmoid(gate)


class FeedForward(nn.Module):
    """Two pointwise convolutions with norms (SHViT's FFN)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.expand = ConvNormAct(width, hidden, act="relu")
        self.project = ConvNormAct(hidden, width, norm_gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.expand(x))
        return y


class ToLayout(nn.Module):
    """Moves the channel axis to where the next component computes."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.order = (0, 2, 3, 1) if layout == CHANNELS_LAST else (0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(*self.order)


def global_pool(x: Tensor) -> Tensor:
    """Average over positions: (N, C, H, W) to (N, C)."""
    return x.mean((2, 3))


def unit_length(x: Tensor, dim: int, epsilon: float = 1e-12) -> Tensor:
    """Scale to unit Euclidean length along `dim`; lengths below `epsilon` count as that."""
    return F.normalize(x, dim=dim, eps=epsilon)


def copy_conv(conv: nn.Conv2d, bias: bool | None = None) -> nn.Conv2d:
    """Return an uninitialised convolution like `conv`, with a bias or without."""
    return nn.Conv2d(
        conv.in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        groups=conv.groups,
        bias=conv.bias is not None if bias is None else bias,
        device=conv.weight.device,
        dtype=conv.weight.dtype,
    ).eval()


def _norm_affine(norm: nn.BatchNorm2d | nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    if norm.weight.is_meta:
        return norm.weight, norm.bias
    assert norm.running_var is not None
    assert norm.running_mean is not None
    # In float64: variances near zero would cost digits that the parity check wants.
    gain = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return gain, norm.bias.double() - norm.running_mean.double() * gain


@torch.no_grad()
def fold_norm_after(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one convolution equal to `norm(conv(x))` in eval mode."""
    gain, shift = _norm_affine(norm)
    return fold_affine_after(conv, gain, shift)


@torch.no_grad()
def fold_affine_after(conv: nn.Conv2d, gain: Tensor, shift: Tensor | None = None) -> nn.Conv2d:
    """Return one convolution equal to `gain * conv(x) + shift`, per output channel."""
    folded = copy_conv(conv, bias=True)
    if conv.weight.is_meta:  # only the structure counts
        return folded
    gain = gain.reshape(-1).double()
    bias = torch.zeros_like(gain) if conv.bias is None else conv.bias.double()
    bias = bias * gain + (0 if shift is None else shift.double())
    folded.weight = nn.Parameter((conv.weight.double() * gain[:, None, None, None]).to(conv.weight))
    assert folded.bias is not None
    folded.bias = nn.Parameter(bias.to(conv.weight))
    return folded


@torch.no_grad()
def fold_affine_before(conv: nn.Conv2d, gain: Tensor, shift: Tensor) -> nn.Conv2d:
    """Return one pointwise convolution equal to `conv(gain * x + shift)`, per input channel."""
    assert conv.kernel_size == (1, 1)
    assert conv.groups == 1
    folded = copy_conv(conv, bias=True)
    if conv.weight.is_meta:
        return folded
    weight = conv.weight.double()
    bias = torch.zeros(conv.out_channels).to(weight) if conv.bias is None else conv.bias.double()
    bias = bias + (weight[:, :, 0, 0] * shift.double()).sum(1)
    folded.weight = nn.Parameter((weight * gain.double()[None, :, None, None]).to(conv.weight))
    folded.bias = nn.Parameter(bias.to(conv.weight))
    return folded


@torch.no_grad()
def fold_norm_before(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """Return one pointwise convolution equal to `conv(norm(x))` in eval mode."""
    return fold_affine_before(conv, *_norm_affine(norm))


@torch.no_grad()
def fold_into_linear(
    linear: nn.Linear,
    before: nn.BatchNorm1d | nn.BatchNorm2d | None = None,
    after: Tensor | None = None,
) -> nn.Linear:
    """Return one linear layer equal to `after * linear(before(x))`."""
    folded = nn.Linear(
        linear.in_features,
        linear.out_features,
        device=linear.weight.device,
        dtype=linear.weight.dtype,
    ).eval()
    if linear.weight.is_meta:
        return folded
    weight = linear.weight.double()
    bias = torch.zeros(linear.out_features).to(weight)
    if linear.bias is not None:
        bias = linear.bias.double()
    if before is not None:
        gain, shift = _norm_affine(before)
        bias = bias + (weight * shift).sum(1)
        weight = weight * gain
    if after is not None:
        scale = after.reshape(-1).double()
        weight, bias = weight * scale[:, None], bias * scale
    folded.weight = nn.Parameter(weight.to(linear.weight))
    folded.bias = nn.Parameter(bias.to(linear.weight))
    return folded


def deployed(module: nn.Module) -> nn.Module:
    """Return the deployed form of a module in eval mode; may share or change its children."""
    own = getattr(module, "deploy", None)
    if own is not None:
        result = own()
        assert isinstance(result, nn.Module)
        return result
    for name, child in module.named_children():
        setattr(module, name, deployed(child))
    return module
