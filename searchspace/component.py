"""What any component of the space declares: its options, their ranges, and a check of them.

Free of torch, as is all that declares components, so that files can be checked without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

OptionValue = int | float | bool | tuple[int, ...]
Options = Mapping[str, OptionValue]

CHANNELS_FIRST = "channels_first"
CHANNELS_LAST = "channels_last"
CLASSIFICATION = "classification"
SEGMENTATION = "segmentation"


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
        structural: whether it changes more than sizes, so that a supernet has to look at all its
            values, not at the largest alone.
        checked: whether the component's `check` looks at it.
        pattern: of kind `ints`: whether its elements are for one block each, in turn over a run.
    """

    kind: str
    default: OptionValue
    low: float = 1
    high: float = 1024
    odd: bool = False
    about: str = ""
    structural: bool = False
    checked: bool = False
    pattern: bool = False

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


@dataclass(frozen=True)
class ComponentSpec:
    """What a component of the space takes.

    Attributes:
        family: the published family that it comes from.
        options: its options by name.
        layout: memory layout that it computes in (its input and output).
        attention: whether it mixes tokens globally.
        strides: strides a stem can have.
        task: what a head's logits are of.
        check: returns what is wrong with the options at a width, or None.
    """

    family: str
    options: Mapping[str, OptionSpec] = field(default_factory=dict)
    layout: str = CHANNELS_FIRST
    attention: bool = False
    strides: tuple[int, ...] = ()
    task: str = CLASSIFICATION
    check: Callable[[int, Options], str | None] = lambda width, options: None


def divides(name: str) -> Callable[[int, Options], str | None]:
    """Return a check that the option of a name divides the width; 0 is let through."""

    def check(width: int, options: Options) -> str | None:
        count = options[name]
        assert isinstance(count, int)
        if count and width % count:
            allowed = [d for d in (1, 2, 3, 4, 6, 8, 12, 16) if width % d == 0]
            return f"{name}: {count} does not divide width {width}; {allowed} would"
        return None

    return check


def expansion(default: int) -> OptionSpec:
    """Return the option that most blocks call `expansion`."""
    return OptionSpec("float", float(default), 0.5, 8, about="hidden width over width")


def kernel(default: int) -> OptionSpec:
    """Return the option that most blocks call `kernel`."""
    return OptionSpec("int", default, 1, 15, odd=True, about="depthwise kernel")


def heads(default: int, low: int = 1, about: str = "attention heads") -> OptionSpec:
    """Return the option that attention blocks call `heads`."""
    return OptionSpec("int", default, low, 64, about=about, structural=True, checked=True)
