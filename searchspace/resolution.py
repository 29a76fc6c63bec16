"""Resolutions: the side of a square image, or its height and width, in pixels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from searchspace.errors import UserError, plain_key, short

Resolution = int | tuple[int, int]
"""The side of a square, or (height, width)."""

Size = tuple[int, int]
"""Height and width of an image in pixels, or of a feature map in tokens."""

RESOLUTIONS = (32, 2048)


def height_width(resolution: Resolution) -> Size:
    """Return height and width."""
    return (resolution, resolution) if isinstance(resolution, int) else resolution


def squared(size: Size) -> Resolution:
    """Return a size as a resolution: one integer where it is a square."""
    return size[0] if size[0] == size[1] else size


def reduced(size: Size, stride: int) -> Size:
    """Return the size of a map at a stride; what a stride doesn't divide is padded."""
    return -(-size[0] // stride), -(-size[1] // stride)


def line_up(sizes: Sequence[Size], reductions: Sequence[int], stride: int) -> bool:
    """Return whether maps have one size when they are enlarged to a stride.

    Args:
        sizes: of the maps.
        reductions: their strides over the image.
        stride: a divisor of these.
    """
    enlarged = {
        (height * reduction // stride, width * reduction // stride)
        for (height, width), reduction in zip(sizes, reductions, strict=True)
    }
    return len(enlarged) == 1


def raised(resolution: Resolution, stride: int) -> Resolution:
    """Return the least resolution, no side smaller, whose sides a stride divides."""
    height, width = reduced(height_width(resolution), stride)
    return squared((height * stride, width * stride))


def resolution_text(resolution: Resolution) -> str:
    """Return a resolution as people write it: `224`, or height by width as in `512x1024`."""
    return "x".join(map(str, dict.fromkeys(height_width(resolution))))


def parse_resolution(where: str, value: object) -> Resolution:
    """Return the resolution that a value of a file or an option stands for.

    Args:
        where: the field or option, for the message.
        value: an integer, two of them (height first), or text such as `512x1024`.

    Raises:
        UserError: where it is none, or out of range.
    """
    sides: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}(x\d{1,9})?", value.strip()):
        sides = [int(side) for side in value.split("x")]
    low, high = RESOLUTIONS
    if not all(type(side) is int and low <= side <= high for side in sides):
        raise UserError(
            f"{where}: {_shown(value)} is not an integer from {low} to {high}, nor two of them "
            "(height and width, as 512x1024)"
        )
    if len(sides) not in (1, 2):
        raise UserError(f"{where}: {_shown(value)} is not one integer, nor height and width")
    return squared((sides[0], sides[-1]))


def _shown(value: object) -> str:
    return plain_key(value) if isinstance(value, str) else short(value)
