"""SwiftFormer's encoder with efficient additive attention."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from searchspace.blocks.swiftformer_conv.module import ConvEncoder
from searchspace.half_precision import LEAST, factor_to
from searchspace.layers import (
    LayerScale,
    Residual,
    deployed,
    fold_affine_after,
    fold_into_linear,
    fold_norm_before,
    unit_length,
)

EPSILON = 1e-12  # the official code's, PyTorch's own; below what half precision holds
LARGEST_SQUARES = 256.0  # that the squares of a token, or of the scores, add up to after `rescale`


class AdditiveAttention(nn.Module):
    """Efficient additive attention (Shaker et al., arXiv 2303.15446, Sec. 3.2, Eq. 3 to 5).

    Queries are summed into one global query by learned scores and multiplied with the keys: linear
    in the number of tokens. Shapes: (N, tokens, width) to the same. As in the official class, more
    heads widen queries and keys to `heads * width`; the published networks use one.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        inner = width * heads
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.score = nn.Parameter(torch.randn(inner, 1) * inner**-0.5)
        self.scale = width**-0.5
        self.project = nn.Linear(inner, inner)
        self.final = nn.Linear(inner, width)
        self.epsilon = EPSILON

    def forward(self, x: Tensor) -> Tensor:
        query = unit_length(self.query(x), -1, self.epsilon)
        key = unit_length(self.key(x), -1, self.epsilon)
        weights = unit_length((query @ self.score) * self.scale, 1, self.epsilon)
        global_query = (weights * query).sum(dim=1, keepdim=True)
        y: Tensor = self.final(self.project(global_query * key) + query)
        return y

    def rescale(self, x: Tensor) -> None:
        """Scale queries, keys and scores for half precision; their unit lengths stay as they are.

        Args:
            x: an input, (N, tokens, width); no sum of squares of its tokens passes
                `LARGEST_SQUARES`.
        """
        for linear in (self.query, self.key):
            largest = linear(x).square().sum(2).max().sqrt()
            factor = factor_to(torch.tensor(math.sqrt(LARGEST_SQUARES)), largest)
            linear.weight.mul_(factor)
            linear.bias.mul_(factor)
        query = unit_length(self.query(x), -1)
        largest = (query @ self.score * self.scale).square().sum(1).max().sqrt()
        self.score.mul_(factor_to(torch.tensor(math.sqrt(LARGEST_SQUARES)), largest))
        self.epsilon = LEAST


class PointwiseMLP(nn.Module):
    """Norm and two pointwise convolutions."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.expand = nn.Conv2d(width, hidden, 1)
        self.act = nn.GELU()
        self.project = nn.Conv2d(hidden, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.act(self.expand(self.norm(x))))
        return y


class TokenAttention(nn.Module):
    """Additive attention over the positions of a feature map: (N, C, H, W) to the same."""

    def __init__(self, attention: AdditiveAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y: Tensor = self.attention(x.permute(0, 2, 3, 1).reshape(n, h * w, c))
        return y.reshape(n, h, w, c).permute(0, 3, 1, 2)


class AdditiveAttentionBlock(nn.Module):
    """Local representation, additive attention and MLP (SwiftFormer's encoder)."""

    def __init__(self, width: int, side: int, *, heads: int, expansion: float, kernel: int) -> None:
        super().__init__()
        self.local = ConvEncoder(width, width, kernel)
        self.mixer = TokenAttention(AdditiveAttention(width, heads))
        self.mixer_scale = LayerScale(width)
        self.mlp = PointwiseMLP(width, int(width * expansion))
        self.mlp_scale = LayerScale(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.local(x)
        x = x + self.mixer_scale(self.mixer(x))
        y: Tensor = x + self.mlp_scale(self.mlp(x))
        return y

    def deploy(self) -> nn.Module:
        """Return the block with its norms and layer scales folded."""
        attention = self.mixer.attention
        attention.final = fold_into_linear(attention.final, after=self.mixer_scale.gamma)
        mlp = nn.Sequential(
            fold_norm_before(self.mlp.expand, self.mlp.norm),
            self.mlp.act,
            fold_affine_after(self.mlp.project, self.mlp_scale.gamma),
        )
        return nn.Sequential(deployed(self.local), Residual(self.mixer), Residual(mlp))
