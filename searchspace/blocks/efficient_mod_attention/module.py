"""The attention block of EfficientMod's hybrid stages: (N, H, W, width) to the same."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.blocks.efficient_mod_attention import head_width


class SelfAttention(nn.Module):
    """Multi-head self-attention: (N, tokens, width) to the same.

    Training uses torch's fused attention; the deployed form spells its products out.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = head_width(width, heads)
        self.fused = True
        self.qkv = nn.Linear(width, 3 * heads * self.head_dim, bias=False)
        self.project = nn.Linear(heads * self.head_dim, width)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, _ = x.shape
        qkv = self.qkv(x).reshape(n, tokens, 3, self.heads, self.head_dim).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q * self.head_dim**-0.5) @ k.transpose(-2, -1)).softmax(dim=-1) @ v
        out: Tensor = self.project(y.transpose(1, 2).reshape(n, tokens, self.heads * self.head_dim))
        return out

    def deploy(self) -> nn.Module:
        """Return itself with the products spelled out."""
        self.fused = False
        return self


class EfficientModAttentionBlock(nn.Module):
    """Vanilla attention block that hybrid EfficientMod appends to a stage (arXiv 2403.19963)."""

    def __init__(self, width: int, side: int, *, heads: int, expansion: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.expand = nn.Linear(width, int(width * expansion))
        self.act = nn.GELU()
        self.project = nn.Linear(int(width * expansion), width)

    def forward(self, x: Tensor) -> Tensor:
        n, h, w, c = x.shape
        x = x.reshape(n, h * w, c)
        x = x + self.attention(self.norm1(x))
        x = x + self.project(self.act(self.expand(self.norm2(x))))
        return x.reshape(n, h, w, c)
