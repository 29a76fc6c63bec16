"""A block of another package: a depthwise convolution, gated by the pixel itself."""

from torch import Tensor, nn

from searchspace.block_type import BlockType, Piece, Share
from searchspace.component import Options, expansion, kernel
from searchspace.layers import ConvNormAct, Residual


def hidden_width(width: int, expansion: float) -> int:
    """Return the channels of the gate, and of the values that it gates."""
    return round(width * expansion)


def sharing(width: int, options: Options, key: str) -> Share:
    """Return which shared tensor of a supernet the tensor of a name is a slice of.

    `enter` has the gate's channels first and the values' behind them: each part is sliced for
    itself. Every other tensor is the leading slice of one of its own name.
    """
    ratio = options["expansion"]
    assert isinstance(ratio, float)
    hidden = hidden_width(width, ratio)
    if key.startswith("branch.enter.") and not key.endswith("num_batches_tracked"):
        return Share(key, 0, (Piece("gate", 0, hidden), Piece("values", 0, hidden)))
    return Share(key)


class Gated(nn.Module):
    """Gate times depthwise convolution, projected back: (N, width, H, W) to the same."""

    def __init__(self, width: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.enter = ConvNormAct(width, 2 * hidden)
        self.act = nn.Sigmoid()
        self.depthwise = ConvNormAct(hidden, hidden, kernel, groups=hidden)
        self.project = ConvNormAct(hidden, width, norm_gain=0.0)

    def forward(self, x: Tensor) -> Tensor:
        """Return the branch's output."""
        gate, values = self.enter(x).chunk(2, dim=1)
        y: Tensor = self.project(self.act(gate) * self.depthwise(values))
        return y


class GatedConvBlock(Residual):
    """The block: `x + gated(x)`."""

    def __init__(self, width: int, side: int, *, expansion: float, kernel: int) -> None:
        super().__init__(Gated(width, hidden_width(width, expansion), kernel))


GATED_CONV = BlockType(
    family="Example",
    module="gated_conv:GatedConvBlock",
    options={"expansion": expansion(2), "kernel": kernel(3)},
    sharing=sharing,
)
