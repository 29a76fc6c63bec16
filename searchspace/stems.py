"""Stems: the image to the first feature map."""

from __future__ import annotations

from torch import Tensor, nn

from searchspace.blocks.dsconv.module import DSConvBlock
from searchspace.layers import ConvNormAct, ToLayout
from searchspace.registry import STEMS, register
from searchspace.schema import CHANNELS_LAST


class ConvPyramid(nn.Sequential):
    """Stride-2 3x3 convolutions with batch norm whose width doubles up to `width`.

    Shapes: (N, 3, R, R) to (N, width, R/stride, R/stride).

    Args:
        width: output channels.
        stride: a power of two.
        bias: whether convolutions have biases beside their norms.
        last_act: whether an activation follows the last one too.
    """

    def __init__(self, width: int, stride: int, *, bias: bool, last_act: bool) -> None:
        steps = stride.bit_length() - 1
        widths = [3] + [width >> (steps - 1 - step) for step in range(steps)]
        super().__init__(
            *(
                ConvNormAct(
                    widths[step],
                    widths[step + 1],
                    3,
                    2,
                    bias=bias,
                    act="relu" if last_act or step < steps - 1 else None,
                )
                for step in range(steps)
            )
        )


@register(STEMS, "shvit")
class SHViTStem(ConvPyramid):
    """SHViT's overlapping patch embedding, stride 16 in the paper (arXiv 2401.16456, Sec. 3.1)."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__(width, stride, bias=False, last_act=False)


@register(STEMS, "swiftformer")
class SwiftFormerStem(ConvPyramid):
    """SwiftFormer's stem, stride 4 in the paper (arXiv 2303.15446, Sec. 3.3)."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__(width, stride, bias=True, last_act=True)


@register(STEMS, "efficientvit")
class EfficientViTStem(nn.Sequential):
    """One stride-2 convolution and residual DSConvs, stride 2 in the paper (arXiv 2205.14756).

    Larger strides put more stride-2 convolutions before the DSConvs.
    """

    def __init__(self, width: int, stride: int, *, depth: int) -> None:
        steps = stride.bit_length() - 1
        convs = [
            ConvNormAct(3 if step == 0 else width, width, 3, 2, act="hswish")
            for step in range(steps)
        ]
        super().__init__(*convs, *(DSConvBlock(width, 0, kernel=3) for _ in range(depth)))


@register(STEMS, "efficientmod")
class EfficientModStem(nn.Module):
    """7x7 patch embedding with layer norm, stride 4 in the paper (arXiv 2403.19963).

    Stride 8 adds a 3x3 convolution of stride 2 before the norm.
    Shapes: (N, 3, R, R) to channels-last (N, R/stride, R/stride, width).
    """

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, width, 7, 4, 3)
        self.reduce = nn.Conv2d(width, width, 3, 2, 1) if stride == 8 else None
        self.layout = ToLayout(CHANNELS_LAST)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        if self.reduce is not None:
            x = self.reduce(x)
        y: Tensor = self.norm(self.layout(x))
        return y
