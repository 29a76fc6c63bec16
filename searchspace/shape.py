"""`Shape`: which widths may follow each other, and where; what nobody would build stays out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from searchspace.architecture import MAX_WIDTH
from searchspace.errors import UserError, plain_key, short

Limits = tuple[float, float]


@dataclass(frozen=True)
class Shape:
    """Limits on the widths of stages beside their lists.

    Attributes:
        growth: least and most width of a stage over that of the one before (the stem, where that
            has a width of its own); None for any.
        width: least and most width by a stage's stride (the image's side over its map's); strides
            that are left out have no limit.
    """

    growth: Limits | None = None
    width: Mapping[int, Limits] = field(default_factory=dict)

    def allowed(
        self, values: Sequence[int], stride: int, before: int | None = None
    ) -> tuple[int, ...]:
        """Return the widths of a list that a stage may have.

        Args:
            values: the list.
            stride: the stage's stride.
            before: the width before it; None for a first stage that takes the stem's.
        """
        low, high = self.width.get(stride, (0, MAX_WIDTH))
        if self.growth is not None and before is not None:
            low, high = max(low, before * self.growth[0]), min(high, before * self.growth[1])
        return tuple(value for value in values if low <= value <= high)

    def follow(
        self, values: Sequence[int], stride: int, before: Mapping[int | None, int]
    ) -> dict[int | None, int]:
        """Return in how many ways each width of a list can be reached from those before.

        Raises:
            UserError: where nothing of the list may follow one of them.
        """
        ways: Counter[int | None] = Counter()
        for width, count in before.items():
            allowed = self.allowed(values, stride, width)
            if not allowed:
                after = "" if width is None else f" after width {width}"
                raise UserError(f"none of its widths is allowed at stride {stride}{after}")
            for value in allowed:
                ways[value] += count
        return dict(ways)

    def to_dict(self) -> dict[str, object]:
        """Return plain data, as in a space's file."""
        body: dict[str, object] = {}
        if self.growth is not None:
            body["growth"] = list(self.growth)
        if self.width:
            body["width"] = {stride: list(limits) for stride, limits in self.width.items()}
        return body


def parse_shape(data: object) -> Shape:
    """Return the shape that plain data describes.

    Raises:
        UserError: where a field is unknown or out of range; names it.
    """
    if not isinstance(data, dict):
        raise UserError(f"shape: {short(data)} is not a mapping of fields")
    for name in data:
        if name not in ("growth", "width"):
            raise UserError(f"shape.{plain_key(name)}: unknown field; allowed: growth, width")
    growth, widths = data.get("growth"), data.get("width", {})
    if not isinstance(widths, dict):
        raise UserError(f"shape.width: {short(widths)} is not a mapping of strides to limits")
    for stride in widths:
        if isinstance(stride, bool) or not isinstance(stride, int) or stride < 1:
            raise UserError(f"shape.width: {short(stride)} is not a stride (4, 8, 16 ...)")
    return Shape(
        growth=None if growth is None else _limits("shape.growth", growth),
        width={
            stride: _limits(f"shape.width.{plain_key(stride)}", limits)
            for stride, limits in widths.items()
        },
    )


def _limits(where: str, data: object) -> Limits:
    if isinstance(data, list) and len(data) == 2:
        low, high = data
        numbers = not any(isinstance(v, bool) or not isinstance(v, int | float) for v in data)
        if numbers and 0 <= low <= high <= MAX_WIDTH:
            return low, high
    raise UserError(f"{where}: {short(data)} is not [least, most], two numbers up to {MAX_WIDTH}")
