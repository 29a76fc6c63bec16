"""The CIFAR-10 networks of NAS-Bench-201, built from architecture strings.

Dong and Yang, ICLR 2020 (arXiv:2001.00326). A stem, three stages of equal cells at 16, 32 and 64
channels with a residual reduction between them, and a linear classifier. A cell adds up, at each
of three nodes, one operator's output for every earlier node.
"""

import re

from torch import Tensor, nn

CHANNELS = 16
CELLS_PER_STAGE = 5

Cell = tuple[tuple[str, ...], ...]
"""Operator names: for node 1, 2 and 3 one for each earlier node."""


def parse(architecture: str) -> Cell:
    """Reads "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|".

    Raises:
        ValueError: The string is of another form.
    """
    cell = tuple(
        tuple(name for name, _ in re.findall(r"\|?([a-z0-9_]+)~(\d)", node))
        for node in architecture.split("+")
    )
    if [len(node) for node in cell] != [1, 2, 3]:
        raise ValueError(f"not a NAS-Bench-201 architecture: {architecture}")
    return cell


def build(architecture: str, num_classes: int = 10) -> nn.Module:
    """Builds the network of an architecture string: (N, 3, R, R) to logits."""
    return CellNetwork(parse(architecture), num_classes)


class CellNetwork(nn.Module):
    """Stem, three stages of cells, classifier. `block_names` are where AZ-NAS reads features."""

    def __init__(self, cell: Cell, num_classes: int) -> None:
        super().__init__()
        width = CHANNELS
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )
        cells: list[nn.Module] = []
        for stage in range(3):
            if stage:
                cells.append(_Reduction(width, 2 * width))
                width *= 2
            cells += [_Cell(cell, width) for _ in range(CELLS_PER_STAGE)]
        self.cells = nn.Sequential(*cells)
        self.last = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, num_classes)

    @property
    def block_names(self) -> list[str]:
        """Names of the submodules whose outputs AZ-NAS reads: the stem and every cell."""
        return ["stem", *(f"cells.{i}" for i in range(len(self.cells)))]

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, 3, R, R) to logits (N, num_classes)."""
        x = self.last(self.cells(self.stem(x)))
        logits: Tensor = self.classifier(x.mean(dim=(2, 3)))
        return logits


class _Cell(nn.Module):
    def __init__(self, cell: Cell, width: int) -> None:
        super().__init__()
        self.nodes = nn.ModuleList(
            nn.ModuleList(_operator(name, width) for name in node) for node in cell
        )

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for operators in self.nodes:
            assert isinstance(operators, nn.ModuleList)
            total = operators[0](x)
            for operator, earlier in zip(operators[1:], outputs[1:], strict=True):
                total = total + operator(earlier)
            outputs.append(total)
        return outputs[-1]


class _Reduction(nn.Module):
    """A residual block that halves the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _convolution(inputs, outputs, 3, stride=2), _convolution(outputs, outputs, 3)
        )
        self.shortcut = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        joined: Tensor = self.shortcut(x) + self.body(x)
        return joined


class _Zero(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 0


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
    )


def _operator(name: str, width: int) -> nn.Module:
    if name == "none":
        return _Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    if name == "nor_conv_1x1":
        return _convolution(width, width, 1)
    if name == "nor_conv_3x3":
        return _convolution(width, width, 3)
    raise ValueError(f"not a NAS-Bench-201 operator: {name}")
