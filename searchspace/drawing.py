"""Architectures and spaces for the eye: one line of words, and a drawing for notebooks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from searchspace.resolution import Size, height_width, reduced, resolution_text
from searchspace.schema import BLOCKS

if TYPE_CHECKING:
    from searchspace.architecture import Architecture
    from searchspace.space import SearchSpace

FAMILY_COLOURS = {
    "shvit": "#d1495b",
    "swiftformer": "#2e8b57",
    "efficientvit": "#e08e0b",
    "efficientmod": "#7b4fa3",
}
OTHER_COLOUR = "#667788"
_BLOCK_PX, _GAP_PX, _TALLEST_PX, _TEXT_PX = 22, 14, 110, 16


def in_words(architecture: Architecture) -> str:
    """Return a network's shape in one line: stem, then blocks and width of each stage."""
    stem = architecture.stem
    parts = [f"{stem.type} stem /{stem.stride}"]
    for stage in architecture.stages:
        blocks = " + ".join(f"{b.depth} {b.type}" for b in stage.blocks)
        parts.append(f"{blocks} @{stage.width}")
    if architecture.head.option:
        parts.append(f"{architecture.head.type} head")
    return "; ".join(parts)


def architecture_html(architecture: Architecture) -> str:
    """Return a drawing of a network: a box a block, as tall as its map, by stages."""
    entered = reduced(height_width(architecture.resolution), architecture.stem.stride)
    scale = _TALLEST_PX / entered[0]
    x, shapes = _GAP_PX, []
    stem = architecture.stem
    columns: list[tuple[str, str, int, list[tuple[str, int]]]] = [
        (
            f"{stem.type} stem /{stem.stride}",
            f"{stem.width} x {_area(entered)}",
            entered[0],
            [("stem", 1)],
        )
    ]
    for stage, map_size in zip(architecture.stages, architecture.sizes, strict=True):
        runs = [(block.type, block.depth) for block in stage.blocks]
        words = " + ".join(f"{depth} {type_}" for type_, depth in runs)
        columns.append((words, f"{stage.width} x {_area(map_size)}", map_size[0], runs))
    bottom = _TALLEST_PX + 2 * _TEXT_PX
    for words, size, side, runs in columns:
        height, start = max(6.0, side * scale), x
        for place, (type_, depth) in enumerate(runs):
            fill = f'fill="{_colour(type_)}" fill-opacity="{0.6**place:.2f}"'
            for _ in range(depth):
                shapes.append(
                    f'<rect x="{x}" y="{bottom - height:.1f}" width="{_BLOCK_PX - 4}" '
                    f'height="{height:.1f}" rx="2" {fill}><title>{escape(type_)}</title>'
                    "</rect>"
                )
                x += _BLOCK_PX
        lines = [*words.split(" + "), size]
        for number, line in enumerate(lines):
            shapes.append(
                f'<text x="{start}" y="{bottom + _TEXT_PX * (number + 1)}" font-size="11">'
                f"{escape(line)}</text>"
            )
        x = max(x, start + round(6.4 * max(map(len, lines)))) + _GAP_PX
    deepest = max(len(runs) for *_, runs in columns) + 1
    height = bottom + _TEXT_PX * (deepest + 1)
    head = architecture.head.type
    title = (
        f"{architecture.name or architecture.digest()}, "
        f"{resolution_text(architecture.resolution)} px, {head} head"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {x} {height}" width="{x}" '
        f'style="max-width:100%" role="img" aria-label="{escape(in_words(architecture))}" '
        f'font-family="sans-serif" fill="currentColor">'
        f'<text x="{_GAP_PX}" y="{_TEXT_PX}" font-size="13" font-weight="bold">{escape(title)}'
        f"</text>{''.join(shapes)}</svg>"
    )


def _area(size: Size) -> str:
    return f"{size[0]}²" if size[0] == size[1] else resolution_text(size)


def space_html(space: SearchSpace) -> str:
    """Return a table of a space's axes and their values, with its size above."""
    rows = ((name, _values(values)) for name, values in space.axes.items())
    return f"<p>{escape(space_in_words(space))}</p>{table_html(('axis', 'values'), rows)}"


def space_in_words(space: SearchSpace) -> str:
    """Return a space's name and size in one line."""
    ends = dict.fromkeys((space.spec.resolution[0], space.spec.resolution[-1]))
    between = " to ".join(map(resolution_text, ends))
    return (
        f"{space.name}: {float(space.size()):.2g} architectures at {between} px, "
        f"{len(space.axes)} axes"
    )


def table_html(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table in HTML; its cells are escaped."""
    top = "".join(f"<th>{escape(str(cell))}</th>" for cell in head)
    body = "".join(
        f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows
    )
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _values(values: Sequence[Any]) -> str:
    shown = [str(value) for value in values]
    if len(shown) > 8:
        return f"{shown[0]} to {shown[-1]} ({len(shown)})"
    return ", ".join(shown)


def _colour(type_: str) -> str:
    if type_ not in BLOCKS:
        return OTHER_COLOUR
    return FAMILY_COLOURS.get(BLOCKS[type_].family.lower(), OTHER_COLOUR)
