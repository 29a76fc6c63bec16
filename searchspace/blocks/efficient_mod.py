"""EfficientMod's modulation block and the attention block of its hybrid stages.

Both compute channels-last: (N, H, W, width) to the same.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.layers import LayerScale, fold_into_linear
from searchspace.registry import BLOCKS, register
from searchspace.schema import CHANNELS_LAST


class Context(nn.Module):
    """Context branch: linear, depthwise convolution with GELU, linear."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, width)
        self.conv = nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width)
        self.act = nn.GELU()
        self.leave = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.conv(self.enter(x).permute(0, 3, 1, 2)))
        y: Tensor = self.leave(x.permute(0, 2, 3, 1))
        return y


@register(BLOCKS, "efficient_mod")
class EfficientModBlock(nn.Module):
    """Modulation block (Ma et al., arXiv 2403.19963, Sec. 3.3).

    The value branch of `expansion * width` channels is multiplied with the context, repeated over
    its channel groups. Without expansion the value branch is linear.
    """

    def __init__(self, width: int, side: int, *, expansion: int, kernel: int) -> None:
        super().__init__()
        self.groups = expansion
        self.norm = nn.LayerNorm(width)
        self.value = nn.Linear(width, width * expansion)
        self.context = Context(width, kernel)
        self.project = nn.Linear(width * expansion, width)
        self.act = nn.GELU() if expansion > 1 else None
        self.scale: nn.Module = LayerScale(width, CHANNELS_LAST)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)
        context = self.context(y)
        value = self.value(y)
        if self.act is not None:
            value = self.act(value)
            context = context.repeat(1, 1, 1, self.groups)
        branch: Tensor = self.scale(self.project(value * context))
        return x + branch

    def deploy(self) -> nn.Module:
        """Return the block with its layer scale folded into the projection."""
        assert isinstance(self.scale, LayerScale)
        self.project = fold_into_linear(self.project, after=self.scale.gamma)
        self.scale = nn.Identity()
        return self


class SelfAttention(nn.Module):
    """Multi-head self-attention: (N, tokens, width) to the same.

    A head has `width // heads` channels but 32 at least, as in the official code. Training uses
    torch's fused attention; the deployed form spells its products out.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_dim = max(width // heads, 32)
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


@register(BLOCKS, "efficient_mod_attention")
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
