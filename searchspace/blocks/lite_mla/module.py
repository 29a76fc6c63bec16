"""EfficientViT's block: multi-scale ReLU linear attention and an inverted bottleneck."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.blocks.lite_mla import linear_heads
from searchspace.blocks.mbconv.module import InvertedBottleneck
from searchspace.half_precision import LEAST, factor_to
from searchspace.layers import ConvNormAct, Residual

EPSILON = 1e-15  # the official code's; float32 holds it, half precision does not (see `rescale`)
LARGEST_SUM = 64.0  # that queries, keys and values can add up to after `rescale`


class LiteMLA(nn.Module):
    """Multi-scale linear attention (Cai et al., arXiv 2205.14756, Sec. 3.1, Eq. 2).

    Attention runs in float32 whatever the precision around it, so that the division is safe. Where
    there are no more tokens than channels of a head, the products are taken in the other order,
    as the official code does. Shapes: (N, width, H, W) to the same.

    Args:
        width: channels.
        heads: number of heads.
        head_dim: channels of a head.
        scales: kernels of the depthwise aggregations beside the unaggregated tokens.
    """

    def __init__(self, width: int, heads: int, head_dim: int, scales: tuple[int, ...]) -> None:
        super().__init__()
        inner = 3 * heads * head_dim
        self.head_dim = head_dim
        self.epsilon = EPSILON
        self.qkv = nn.Conv2d(width, inner, 1, bias=False)
        self.aggregations = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inner, inner, scale, padding=scale // 2, groups=inner, bias=False),
                nn.Conv2d(inner, inner, 1, groups=3 * heads, bias=False),
            )
            for scale in scales
        )
        self.act = nn.ReLU()
        self.project = ConvNormAct(heads * head_dim * (1 + len(scales)), width, norm_gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x)
        qkv = torch.cat([qkv, *(aggregate(qkv) for aggregate in self.aggregations)], dim=1)
        with _full_precision(x):
            y = self.attend(qkv.float())
        projected: Tensor = self.project(y.to(qkv.dtype))
        return projected

    def attend(self, qkv: Tensor) -> Tensor:
        """ReLU linear attention: float32 (N, 3 * inner, H, W) to (N, inner, H, W)."""
        n, channels, h, w = qkv.shape
        qkv = qkv.reshape(n, channels // (3 * self.head_dim), 3 * self.head_dim, h * w)
        q, k, v = torch.split(qkv, self.head_dim, dim=2)
        q, k = self.act(q), self.act(k)
        if h * w > self.head_dim:
            # A row of ones under the values makes the same product carry the normaliser.
            v = F.pad(v, (0, 0, 0, 1), value=1.0)
            y: Tensor = (v @ k.transpose(-1, -2)) @ q
            y = y[:, :, :-1] / (y[:, :, -1:] + self.epsilon)
        else:
            weights = k.transpose(-1, -2) @ q
            weights = weights / (weights.sum(dim=2, keepdim=True) + self.epsilon)
            y = v @ weights
        return y.reshape(n, channels // 3, h, w)

    def rescale(self, x: Tensor) -> None:
        """Scale queries, keys and values for half precision; what comes out stays as it is.

        Factors of a head's queries and keys cancel in the attention (but for epsilon), those of its
        values are taken back by the projection.

        Args:
            x: an input, (N, width, H, W); no sum of products of its tokens passes `LARGEST_SUM`.
        """
        tokens = x.shape[2] * x.shape[3]
        share = math.sqrt(LARGEST_SUM / (tokens * self.head_dim))
        targets = torch.tensor([share, share, 1.0])  # queries, keys, values
        own = self._factors(self.qkv(x), targets)
        self.qkv.weight.mul_(own.flatten().repeat_interleave(self.head_dim)[:, None, None, None])
        of_values = [own[:, 2]]
        qkv = self.qkv(x)
        for aggregate in self.aggregations:
            further = self._factors(aggregate(qkv), targets)
            each = further.flatten().repeat_interleave(self.head_dim)
            aggregate.get_parameter("1.weight").mul_(each[:, None, None, None])
            of_values.append(own[:, 2] * further[:, 2])
        inverse = 1 / torch.cat(of_values).repeat_interleave(self.head_dim)
        self.project.conv.weight.mul_(inverse[None, :, None, None])
        self.epsilon = LEAST

    def _factors(self, qkv: Tensor, targets: Tensor) -> Tensor:
        """Return what brings each head's queries, keys and values to targets, (heads, 3)."""
        largest = qkv.abs().amax((0, 2, 3)).reshape(-1, 3, self.head_dim).amax(2)
        return factor_to(targets, largest)


def _full_precision(x: Tensor) -> AbstractContextManager[object]:
    kind = x.device.type
    if kind == "meta" or not torch.is_autocast_enabled(kind):
        return nullcontext()
    return torch.autocast(kind, enabled=False)


class LiteMLABlock(nn.Module):
    """Linear attention, then an inverted bottleneck, each residual (EfficientViT's block)."""

    def __init__(
        self,
        width: int,
        side: int,
        *,
        heads: int,
        head_dim: int,
        scales: tuple[int, ...],
        expansion: float,
        kernel: int,
    ) -> None:
        super().__init__()
        self.context = Residual(LiteMLA(width, *linear_heads(width, heads, head_dim), scales))
        self.local = Residual(
            InvertedBottleneck(width, width, expansion, kernel, fewer_norm=True, norm_gain=0.0)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.local(self.context(x))
        return y
