"""SHViT's single-head self-attention block, with more heads as an option."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from searchspace.blocks.shsa import partial_width
from searchspace.layers import ConvNormAct, FeedForward, Residual, deployed, fold_affine_before


class PartialSelfAttention(nn.Module):
    """Self-attention over the first part of the channels.

    With one head this is SHSA (Yun and Ro, arXiv 2401.16456, Sec. 3.2 and Eq. 2); with more, each
    head has queries and keys of its own, as in the multi-head ablation of the paper's Table 6.
    The norm is a group norm of one group. Shapes: (N, width, H, W) to the same.

    Args:
        width: channels.
        partial: channels that are attended; the rest pass by.
        qk_dim: query and key channels of a head.
        heads: number of heads; divides `partial`.
    """

    def __init__(self, width: int, partial: int, qk_dim: int, heads: int) -> None:
        super().__init__()
        self.parts = [partial, width - partial]
        self.splits = [qk_dim * heads, qk_dim * heads, partial]
        self.qk_dim, self.heads = qk_dim, heads
        self.scale = qk_dim**-0.5
        self.norm: nn.Module = nn.GroupNorm(1, partial)
        self.qkv: nn.Module = ConvNormAct(partial, sum(self.splits))
        self.act = nn.ReLU()
        self.project: nn.Module = ConvNormAct(width, width, norm_gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        attended, rest = (x, None) if self.parts[1] == 0 else torch.split(x, self.parts, dim=1)
        q, k, v = torch.split(self.qkv(self.norm(attended)), self.splits, dim=1)
        if self.heads == 1:
            q, k, v = q.flatten(2), k.flatten(2), v.flatten(2)
        else:
            q, k = (t.reshape(n, self.heads, self.qk_dim, h * w) for t in (q, k))
            v = v.reshape(n, self.heads, self.parts[0] // self.heads, h * w)
        weights = ((q.transpose(-2, -1) @ k) * self.scale).softmax(dim=-1)
        y = (v @ weights.transpose(-2, -1)).reshape(n, self.parts[0], h, w)
        y = y if rest is None else torch.cat([y, rest], dim=1)
        projected: Tensor = self.project(self.act(y))
        return projected

    def deploy(self) -> nn.Module:
        """Return itself with batch norms and the group norm's gains folded into convolutions."""
        qkv = deployed(self.qkv)
        assert isinstance(qkv, nn.Conv2d)
        assert isinstance(self.norm, nn.GroupNorm)
        self.qkv = fold_affine_before(qkv, self.norm.weight, self.norm.bias)
        self.norm = nn.GroupNorm(1, self.parts[0], eps=self.norm.eps, affine=False)
        self.project = deployed(self.project)
        return self


class SHSABlock(nn.Module):
    """Depthwise convolution, partial self-attention and FFN, each residual."""

    def __init__(
        self,
        width: int,
        side: int,
        *,
        partial_ratio: float,
        heads: int,
        qk_dim: int,
        expansion: float,
        kernel: int,
    ) -> None:
        super().__init__()
        partial = partial_width(width, partial_ratio, heads)
        self.conv = Residual(ConvNormAct(width, width, kernel, groups=width, norm_gain=0.0))
        self.mixer = Residual(PartialSelfAttention(width, partial, qk_dim, heads))
        self.ffn = Residual(FeedForward(width, int(width * expansion)))

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.ffn(self.mixer(self.conv(x)))
        return y
