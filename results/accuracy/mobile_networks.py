"""Mobile networks of MBConv and DSConv blocks that are published layer by layer, as operators.

They are no members of the space (widths change without downsampling, ReLU6, stride-2 blocks with
kernel 5), so they are built here from their layouts, for features alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from searchspace.operators import Operator, from_graph
from searchspace.tracing import trace

Layer = tuple[str, int, float, int, int, int]  # type, kernel, expansion, width, repeats, stride


@dataclass(frozen=True)
class Layout:
    """A network at width 1 and depth 1.

    Attributes:
        stem: width of the first convolution, of stride 2.
        layers: type (`ds` or `mb`), kernel, expansion, width, repeats, stride of the first.
        head: width of the 1x1 convolution before pooling; 0 for none.
        divisor: widths are multiples of it.
        wider_head: whether the head widens with the network; it never narrows.
        fixed_ends: whether stem and head stay, and the first and last group their depth.
    """

    stem: int
    layers: tuple[Layer, ...]
    head: int = 1280
    divisor: int = 8
    wider_head: bool = True
    fixed_ends: bool = False


def _mb(expansion: float, kernel: int, *groups: tuple[int, int, int]) -> tuple[Layer, ...]:
    return tuple(("mb", kernel, expansion, w, n, s) for w, n, s in groups)


def _chamnet(stem: int, head: int, rows: str) -> Layout:
    layers = []
    for row in rows.split(";"):
        e, c, n, s = (int(v) for v in row.split(","))
        layers.append(("mb", 3, float(e), c, n, s))
    return Layout(stem, tuple(layers), head)


def _blocks(width: int, stride: int, *blocks: tuple[int, float]) -> tuple[Layer, ...]:
    return tuple(
        ("mb", kernel, expansion, width, 1, stride if i == 0 else 1)
        for i, (kernel, expansion) in enumerate(blocks)
    )


_MBV2 = _mb(6, 3, (24, 2, 2), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))
_A1 = ((24, 2, 2), (40, 3, 2), (80, 4, 2), (112, 2, 1), (160, 3, 2), (320, 1, 1))
_PROXYLESS = (
    *_blocks(32, 2, (5, 3), (3, 3)),
    *_blocks(40, 2, (7, 3), (3, 3), (5, 3), (5, 3)),
    *_blocks(80, 2, (7, 6), (5, 3), (5, 3), (5, 3)),
    *_blocks(96, 1, (5, 6), (5, 3), (5, 3), (5, 3)),
    *_blocks(192, 2, (7, 6), (7, 6), (7, 3), (7, 3)),
    *_blocks(320, 1, (7, 6)),
)
LAYOUTS: Mapping[str, Layout] = {
    "mobilenetv1": Layout(
        32,
        (
            ("ds", 3, 1, 64, 1, 1),
            ("ds", 3, 1, 128, 2, 2),
            ("ds", 3, 1, 256, 2, 2),
            ("ds", 3, 1, 512, 6, 2),
            ("ds", 3, 1, 1024, 2, 2),
        ),
        head=0,
    ),
    "mobilenetv2": Layout(32, (("ds", 3, 1, 16, 1, 1), *_MBV2)),
    "mobilenetv2_fixed": Layout(32, (("ds", 3, 1, 16, 1, 1), *_MBV2), fixed_ends=True),
    **{
        f"mnasnet_e{e}_k{k}": Layout(32, (("ds", 3, 1, 16, 1, 1), *_mb(e, k, *_A1)))
        for e in (3, 6)
        for k in (3, 5)
    },
    "mnasnet_b1": Layout(
        32,
        (
            ("ds", 3, 1, 16, 1, 1),
            *_mb(3, 3, (24, 3, 2)),
            *_mb(3, 5, (40, 3, 2)),
            *_mb(6, 5, (80, 3, 2)),
            *_mb(6, 3, (96, 2, 1)),
            *_mb(6, 5, (192, 4, 2)),
            *_mb(6, 3, (320, 1, 1)),
        ),
        wider_head=False,
    ),
    "efficientnet_lite": Layout(
        32,
        (
            ("ds", 3, 1, 16, 1, 1),
            *_mb(6, 3, (24, 2, 2)),
            *_mb(6, 5, (40, 2, 2)),
            *_mb(6, 3, (80, 3, 2)),
            *_mb(6, 5, (112, 3, 1), (192, 4, 2)),
            *_mb(6, 3, (320, 1, 1)),
        ),
        fixed_ends=True,
    ),
    "fbnet_c": Layout(
        16,
        (
            *_blocks(16, 1, (3, 1)),
            *_blocks(24, 2, (3, 6), (3, 1), (3, 1)),
            *_blocks(32, 2, (5, 6), (5, 3), (5, 6), (3, 6)),
            *_blocks(64, 2, (5, 6), (5, 3), (5, 6), (5, 6)),
            *_blocks(112, 1, (5, 6), (5, 6), (5, 6), (5, 3)),
            *_blocks(184, 2, (5, 6), (5, 6), (5, 6), (5, 6)),
            *_blocks(352, 1, (3, 6)),
        ),
        1984,
    ),
    "fbnet_b": Layout(
        16,
        (
            *_blocks(16, 1, (3, 1)),
            *_blocks(24, 2, (3, 6), (5, 1), (3, 1), (3, 1)),
            *_blocks(32, 2, (5, 6), (5, 3), (3, 6), (5, 6)),
            *_blocks(64, 2, (5, 6), (5, 6), (5, 3)),
            *_blocks(112, 1, (5, 6), (3, 1), (5, 1), (5, 3)),
            *_blocks(184, 2, (5, 6), (5, 1), (5, 6), (5, 6)),
            *_blocks(352, 1, (3, 6)),
        ),
        1984,
    ),
    "spnasnet": Layout(
        32,
        (
            ("ds", 3, 1, 16, 1, 1),
            *_blocks(24, 2, (3, 3), (3, 3), (3, 3)),
            *_blocks(40, 2, (5, 6), (3, 3), (3, 3), (3, 3)),
            *_blocks(80, 2, (5, 6), (3, 3), (3, 3), (3, 3)),
            *_blocks(96, 1, (5, 6), (5, 3), (5, 3), (5, 3)),
            *_blocks(192, 2, (5, 6), (5, 6), (5, 6), (5, 6)),
            *_blocks(320, 1, (3, 6)),
        ),
    ),
    "proxyless_mobile": Layout(32, (*_blocks(16, 1, (3, 1)), *_PROXYLESS)),
    "proxyless_mobile_14": Layout(
        48,
        tuple(
            (t, k, e, {32: 40, 40: 56, 80: 112, 96: 136, 192: 256, 320: 448, 16: 24}[w], n, s)
            for t, k, e, w, n, s in (*_blocks(16, 1, (3, 1)), *_PROXYLESS)
        ),
        1792,
    ),
    "proxyless_gpu": Layout(
        40,
        (
            *_blocks(24, 1, (3, 1)),
            *_blocks(32, 2, (5, 3)),
            *_blocks(56, 2, (7, 3), (3, 3)),
            *_blocks(112, 2, (7, 6), (5, 3)),
            *_blocks(128, 1, (5, 6), (3, 3), (5, 3)),
            *_blocks(256, 2, (7, 6), (7, 6), (7, 6), (5, 6)),
            *_blocks(432, 1, (7, 6)),
        ),
        1728,
    ),
    "proxyless_cpu": Layout(
        40,
        (
            *_blocks(24, 1, (3, 1)),
            *_blocks(32, 2, (3, 6), (3, 3), (3, 3), (3, 3)),
            *_blocks(48, 2, (3, 6), (3, 3), (3, 3), (5, 3)),
            *_blocks(88, 2, (3, 6), (3, 3)),
            *_blocks(104, 1, (5, 6), (3, 3), (3, 3), (3, 3)),
            *_blocks(216, 2, (5, 6), (5, 3), (5, 3), (3, 3)),
            *_blocks(360, 1, (5, 6)),
        ),
        1432,
    ),
    "chamnet_a": _chamnet(
        32, 2016, "1,24,1,1;4,40,2,2;6,48,3,2;4,96,4,2;4,160,3,1;4,248,3,2;6,480,1,1"
    ),
    "chamnet_b": _chamnet(
        24, 1984, "1,16,1,1;5,40,2,2;6,40,3,2;6,92,3,2;6,104,3,1;5,200,3,2;6,384,1,1"
    ),
    "chamnet_c": _chamnet(
        16, 1520, "1,16,1,1;4,24,1,2;4,32,3,2;5,64,2,2;6,96,3,1;6,160,3,2;4,256,1,1"
    ),
    "chamnet_d": _chamnet(
        8, 1600, "1,8,1,1;6,24,1,2;4,32,2,2;6,40,4,2;6,80,3,1;5,160,3,2;6,224,1,1"
    ),
    "chamnet_e": _chamnet(
        8, 1600, "1,8,1,1;4,24,1,2;4,32,3,2;6,64,1,2;6,64,3,1;6,96,2,2;4,128,1,1"
    ),
    "chamnet_f": _chamnet(
        8, 1280, "1,8,1,1;4,24,1,2;4,32,3,2;4,40,1,2;4,64,3,1;4,128,2,2;4,192,1,1"
    ),
}
# What a row of variants.csv is, by how it describes its network.
_NAMES = (
    (r"width x1\.1, depth x1\.2 \(stem, head", "mobilenetv2_fixed"),
    (r"width x1\.2, depth x1\.4 \(stem, head", "mobilenetv2_fixed"),
    (r"^MobileNetV1", "mobilenetv1"),
    (r"^MobileNetV2|^mobilenet_v2", "mobilenetv2"),
    (r"every MBConv of one type: MBConv e3 k3", "mnasnet_e3_k3"),
    (r"every MBConv of one type: MBConv e3 k5", "mnasnet_e3_k5"),
    (r"every MBConv of one type: MBConv e6 k3", "mnasnet_e6_k3"),
    (r"every MBConv of one type: MBConv e6 k5", "mnasnet_e6_k5"),
    (r"^MnasNet-B1|^mnasnet|^MnasNet, their", "mnasnet_b1"),
    (r"^EfficientNet-lite", "efficientnet_lite"),
    (r"^FBNet-C[;:]", "fbnet_c"),
    (r"^FBNet-B;|^FBNet-B:", "fbnet_b"),
    (r"^SPNASNet", "spnasnet"),
    (r"^ProxylessNAS-mobile_14", "proxyless_mobile_14"),
    (r"^ProxylessNAS-mobile", "proxyless_mobile"),
    (r"^ProxylessNAS-gpu", "proxyless_gpu"),
    (r"^ProxylessNAS-cpu", "proxyless_cpu"),
    (r"^ChamNet-([A-F])", "chamnet"),
)
_RESOLUTIONS = {"MBC047": 288, "MBC052": 288, "MBC093": 280, "MBC094": 300}  # not in the column


def network_of(row: Mapping[str, str]) -> tuple[tuple[Operator, ...], int] | None:
    """Return the operators and the resolution of a row of variants.csv; None where not known."""
    text = row["network"]
    for pattern, name in _NAMES:
        found = re.search(pattern, text)
        if not found:
            continue
        if name == "chamnet":
            name = f"chamnet_{found.group(1).lower()}"
        head = text.split(";")[0]
        width = _factor(r"width x([\d.]+)", head) or _factor(r" x([\d.]+)", head) or 1.0
        if "resolution x2" in head or "depth x4" in head or "compound" in head:
            width = _factor(r"width x([\d.]+)", head) or 1.0
        depth = _factor(r"depth x([\d.]+)", head) or 1.0
        side = int(row["resolution"] or _RESOLUTIONS[row["id"]])
        layout = LAYOUTS[name]
        if "1x1 head convolution of 1024" in head:
            layout = Layout(layout.stem, layout.layers, head=1024)
        if "retrained" in head and "MobileNetV1" in head:
            width = 1.0
        return operators_of(layout, width, depth, side), side
    return None


def operators_of(
    layout: Layout, width: float = 1.0, depth: float = 1.0, side: int = 224
) -> tuple[Operator, ...]:
    """Return a network's operators, form "deploy"."""
    return from_graph(trace(_Mobile(layout, width, depth), (1, 3, side, side)))


def _factor(pattern: str, text: str) -> float | None:
    found = re.search(pattern, text)
    return float(found.group(1)) if found else None


def _divisible(value: float, divisor: int) -> int:
    new = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return new + divisor if new < 0.9 * value else new


class _Mobile(nn.Module):
    def __init__(self, layout: Layout, width: float, depth: float) -> None:
        super().__init__()

        def wide(value: int) -> int:
            return value if width == 1.0 else _divisible(value * width, layout.divisor)

        channels = layout.stem if layout.fixed_ends else wide(layout.stem)
        parts: list[nn.Module] = [_conv(3, channels, 3, 2)]
        last = len(layout.layers) - 1
        for i, (kind, kernel, expansion, base, repeats, stride) in enumerate(layout.layers):
            ends = layout.fixed_ends and i in (0, last)
            for repeat in range(repeats if ends else math.ceil(round(repeats * depth, 3))):
                step = stride if repeat == 0 else 1
                if (kind == "ds" and layout.head == 0) or (kind == "ds" and i > 0):
                    parts.append(_separable(channels, wide(base), kernel, step))
                else:
                    parts.append(_Inverted(channels, wide(base), kernel, expansion, step))
                channels = wide(base)
        if layout.head:
            scale = 1.0 if layout.fixed_ends or not layout.wider_head else max(width, 1.0)
            out = _divisible(layout.head * scale, 8)
            parts.append(_conv(channels, out, 1, 1))
            channels = out
        self.body = nn.Sequential(*parts)
        self.classifier = nn.Linear(channels, 1000)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.classifier(self.body(x).mean((2, 3)))
        return result


class _Inverted(nn.Module):
    def __init__(self, inp: int, out: int, kernel: int, expansion: float, stride: int) -> None:
        super().__init__()
        hidden = round(inp * expansion)
        parts: list[nn.Module] = [] if expansion == 1 else [_conv(inp, hidden, 1, 1)]
        parts.append(_conv(hidden, hidden, kernel, stride, hidden))
        parts.append(_conv(hidden, out, 1, 1, activation=False))
        self.branch = nn.Sequential(*parts)
        self.residual = inp == out and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.branch(x)
        return x + y if self.residual else y


def _separable(inp: int, out: int, kernel: int, stride: int) -> nn.Sequential:
    return nn.Sequential(_conv(inp, inp, kernel, stride, inp), _conv(inp, out, 1, 1))


def _conv(
    inp: int, out: int, kernel: int, stride: int, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    parts: Sequence[nn.Module] = [
        nn.Conv2d(inp, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    return nn.Sequential(*parts, *([nn.ReLU()] if activation else []))


def counts(operators: Sequence[Operator]) -> tuple[float, float]:
    """Return Mparams and GMACs."""
    return sum(o.params for o in operators) / 1e6, sum(o.macs for o in operators) / 1e9
