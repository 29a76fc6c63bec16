"""What each kind of component takes: option names, ranges, defaults, and what has to divide what.

Free of torch, so that files can be checked without loading it. The classes that implement these
components register under the same names (`searchspace.registry`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

OptionValue = int | float | bool | tuple[int, ...]
Options = Mapping[str, OptionValue]

CHANNELS_FIRST = "channels_first"
CHANNELS_LAST = "channels_last"


@dataclass(frozen=True)
class OptionSpec:
    """One option of a component.

    Attributes:
        kind: `int`, `float`, `bool`, or `ints` for a non-empty tuple of integers.
        default: value where a file leaves the option out.
        low: least allowed value (of each element for `ints`).
        high: greatest allowed value.
        odd: whether the value has to be odd (kernels).
        about: what it is, in a few words.
    """

    kind: str
    default: OptionValue
    low: float = 1
    high: float = 1024
    odd: bool = False
    about: str = ""

    def describe(self) -> str:
        """Return the allowed values in words."""
        if self.kind == "bool":
            return "true or false"
        what = {"int": "an integer", "float": "a number", "ints": "a list of integers"}[self.kind]
        if self.odd:
            what = what.replace("an integer", "an odd integer").replace("integers", "odd integers")
        return f"{what} from {self.low:g} to {self.high:g}"

    def parse(self, value: object) -> OptionValue | None:
        """Return `value` in its proper type, or None where it is not allowed."""
        if self.kind == "bool":
            return value if isinstance(value, bool) else None
        if self.kind == "ints":
            items = value if isinstance(value, list | tuple) else [value]
            parsed = [self._number(item) for item in items]
            whole = [int(number) for number in parsed if number is not None]
            return tuple(whole) if whole and len(whole) == len(parsed) else None
        return self._number(value)

    def _number(self, value: object) -> int | float | None:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        if not self.low <= value <= self.high:  # nor is NaN
            return None
        if self.kind == "float":
            return float(value)
        if value != int(value) or (self.odd and value % 2 == 0):
            return None
        return int(value)


def _divides(name: str) -> Callable[[int, Options], str | None]:
    def check(width: int, options: Options) -> str | None:
        count = options[name]
        assert isinstance(count, int)
        if count and width % count:
            allowed = [d for d in (1, 2, 3, 4, 6, 8, 12, 16) if width % d == 0]
            return f"{name}: {count} does not divide width {width}; {allowed} would"
        return None

    return check


def _linear_heads_fit(width: int, options: Options) -> str | None:
    heads, head_dim = options["heads"], options["head_dim"]
    assert isinstance(heads, int)
    assert isinstance(head_dim, int)
    if head_dim == 0:
        if heads == 0:
            return "heads: give heads or head_dim, not 0 for both"
        return _divides("heads")(width, options)
    return None


def linear_heads(width: int, heads: int, head_dim: int) -> tuple[int, int]:
    """Return the heads and head width of linear attention where one of them follows the width.

    There is one head at least, wider than the width where that is less than a head's.
    """
    return heads or max(1, width // head_dim), head_dim or width // heads


def _partial_fits(width: int, options: Options) -> str | None:
    heads, ratio = options["heads"], options["partial_ratio"]
    assert isinstance(heads, int)
    assert isinstance(ratio, float | int)
    if partial_width(width, float(ratio), heads) > width:
        return f"heads: {heads} heads need {heads} channels or more, width {width} has fewer"
    return None


def partial_width(width: int, partial_ratio: float, heads: int = 1) -> int:
    """Channels that attention sees: the multiple of `heads` nearest to `width * partial_ratio`."""
    return max(1, round(width * partial_ratio / heads)) * heads


@dataclass(frozen=True)
class ComponentSpec:
    """What a component of the space takes.

    Attributes:
        family: the published family that it comes from.
        options: its options by name.
        layout: memory layout that it computes in (its input and output).
        attention: whether it mixes tokens globally.
        strides: strides a stem can have.
        check: returns what is wrong with the options at a width, or None.
    """

    family: str
    options: Mapping[str, OptionSpec] = field(default_factory=dict)
    layout: str = CHANNELS_FIRST
    attention: bool = False
    strides: tuple[int, ...] = ()
    check: Callable[[int, Options], str | None] = lambda width, options: None


def _expansion(default: int) -> OptionSpec:
    return OptionSpec("float", float(default), 0.5, 8, about="hidden width over width")


def _kernel(default: int) -> OptionSpec:
    return OptionSpec("int", default, 1, 15, odd=True, about="depthwise kernel")


def _heads(default: int) -> OptionSpec:
    return OptionSpec("int", default, 1, 64, about="attention heads")


BLOCKS: dict[str, ComponentSpec] = {
    "lite_mla": ComponentSpec(
        family="EfficientViT",
        options={
            "heads": OptionSpec("int", 0, 0, 64, about="0: as many as the width holds"),
            "head_dim": OptionSpec("int", 16, 0, 256, about="0: width over heads"),
            "scales": OptionSpec("ints", (5,), 3, 9, odd=True, about="aggregation kernels"),
            "expansion": _expansion(4),
            "kernel": _kernel(3),
        },
        attention=True,
        check=_linear_heads_fit,
    ),
    "mbconv": ComponentSpec(
        family="EfficientViT", options={"expansion": _expansion(4), "kernel": _kernel(3)}
    ),
    "dsconv": ComponentSpec(family="EfficientViT", options={"kernel": _kernel(3)}),
    "efficient_mod": ComponentSpec(
        family="EfficientMod",
        options={
            "expansion": OptionSpec("ints", (1, 6), 1, 8, about="pattern over the blocks"),
            "kernel": _kernel(7),
        },
        layout=CHANNELS_LAST,
    ),
    "efficient_mod_attention": ComponentSpec(
        family="EfficientMod",
        options={"heads": _heads(8), "expansion": _expansion(4)},
        layout=CHANNELS_LAST,
        attention=True,
    ),
    "shsa": ComponentSpec(
        family="SHViT",
        options={
            "partial_ratio": OptionSpec("float", 0.2143, 0.01, 1.0, about="attended channels"),
            "heads": _heads(1),
            "qk_dim": OptionSpec("int", 16, 1, 256, about="query and key width of a head"),
            "expansion": _expansion(2),
            "kernel": _kernel(3),
        },
        attention=True,
        check=_partial_fits,
    ),
    "shvit_conv": ComponentSpec(
        family="SHViT", options={"expansion": _expansion(2), "kernel": _kernel(3)}
    ),
    "additive_attention": ComponentSpec(
        family="SwiftFormer",
        options={"heads": _heads(1), "expansion": _expansion(4), "kernel": _kernel(3)},
        attention=True,
    ),
    "swiftformer_conv": ComponentSpec(
        family="SwiftFormer", options={"expansion": _expansion(4), "kernel": _kernel(3)}
    ),
}

STEMS: dict[str, ComponentSpec] = {
    "shvit": ComponentSpec(family="SHViT", strides=(4, 8, 16)),
    "swiftformer": ComponentSpec(family="SwiftFormer", strides=(4, 8, 16)),
    "efficientvit": ComponentSpec(
        family="EfficientViT",
        options={"depth": OptionSpec("int", 1, 0, 4, about="residual DSConv blocks")},
        strides=(2, 4, 8),
    ),
    "efficientmod": ComponentSpec(family="EfficientMod", layout=CHANNELS_LAST, strides=(4, 8)),
}

DOWNSAMPLINGS: dict[str, ComponentSpec] = {
    "patch_merging": ComponentSpec(
        family="SHViT",
        options={
            "expansion": OptionSpec("float", 4.0, 1, 8, about="hidden width over input width"),
            "ffn_expansion": OptionSpec("float", 2.0, 0.5, 8, about="of the two FFNs around it"),
        },
    ),
    "mbconv": ComponentSpec(
        family="EfficientViT",
        options={
            "expansion": _expansion(4),
            "fewer_norm": OptionSpec("bool", False, about="norm after the last convolution only"),
        },
    ),
    "conv_ln": ComponentSpec(family="EfficientMod", layout=CHANNELS_LAST),
    "conv_bn": ComponentSpec(family="SwiftFormer"),
}

HEADS: dict[str, ComponentSpec] = {
    "shvit": ComponentSpec(family="SHViT"),
    "swiftformer": ComponentSpec(
        family="SwiftFormer",
        options={"distillation": OptionSpec("bool", True, about="a second, averaged classifier")},
    ),
    "efficientvit": ComponentSpec(
        family="EfficientViT",
        options={
            "conv_width": OptionSpec("int", 1024, 8, 8192, about="1x1 convolution before pooling"),
            "linear_width": OptionSpec("int", 1280, 8, 8192, about="hidden layer after pooling"),
        },
    ),
    "efficientmod": ComponentSpec(family="EfficientMod", layout=CHANNELS_LAST),
}

FAMILIES: tuple[str, ...] = ("SHViT", "EfficientMod", "SwiftFormer", "EfficientViT")
