"""EfficientMod's modulation block, channels-last: (N, H, W, width) to the same."""

from __future__ import annotations

from torch import Tensor, nn

from searchspace.component import CHANNELS_LAST
from searchspace.layers import LayerScale, fold_into_linear


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
