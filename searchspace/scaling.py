"""Published networks scaled by hand: the baseline that a search has to beat."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache

import numpy as np

from searchspace import zoo
from searchspace.architecture import Architecture, Head
from searchspace.schema import OptionValue

WIDTHS = (0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
DEPTHS = (0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5)
_STEP = 8  # channels come in multiples of this


def scaled(architecture: Architecture, width: float, depth: float) -> Architecture:
    """Return a network with its widths and depths multiplied.

    Widths go to the nearest multiple of 8, depths of runs of blocks to the nearest integer, 1 at
    least; where the factor is 1 they stay as they are. Head counts, partial ratios, expansions and
    the resolution stay. The hidden widths of EfficientViT's classifier follow the last stage's
    width as they do between its published sizes (`head_width`), as does the width of its
    segmentation head.

    Args:
        architecture: a network.
        width: factor on the widths of stem and stages.
        depth: factor on the depths.

    Raises:
        UserError: where the result could not be built.
    """

    def wide(value: int) -> int:
        return value if width == 1 else _nearest(value * width, _STEP)

    def deep(value: int) -> int:
        return value if depth == 1 else _nearest(value * depth)

    stages = tuple(
        replace(
            stage,
            width=wide(stage.width),
            blocks=tuple(replace(block, depth=deep(block.depth)) for block in stage.blocks),
        )
        for stage in architecture.stages
    )
    before, after = architecture.stages[-1].width, stages[-1].width
    return Architecture(
        resolution=architecture.resolution,
        stem=replace(architecture.stem, width=wide(architecture.stem.width)),
        stages=stages,
        head=_scaled_head(architecture.head, before, after),
        name=architecture.name,
    )


def head_width(option: str, width: float) -> float:
    """Return a hidden width of EfficientViT's head behind a last stage's width.

    Interpolated between B0 to B3 (Cai et al., arXiv 2205.14756, and the official code). Below B0
    the line from B1 continues; above B3 the width stays, as it does from B2 to B3.

    Args:
        option: the head's option, `conv_width` or `linear_width`.
        width: channels of the last stage.
    """
    widths, published = _published_heads(option)
    if width < widths[0]:
        slope = (published[1] - published[0]) / (widths[1] - widths[0])
        return published[0] + slope * (width - widths[0])
    return float(np.interp(width, widths, published))


def scaled_families(networks: Mapping[str, Architecture] | None = None) -> Iterator[Architecture]:
    """Yield published networks and their scalings by `WIDTHS` and `DEPTHS`, each once.

    Networks carry their factors in their names ("shvit_s2 x width 0.9, depth 1.2"); the published
    ones come first, under their own.

    Args:
        networks: by name; the classifiers of the zoo where None.
    """
    seen = set()
    plain = ((1.0, 1.0), *itertools.product(WIDTHS, DEPTHS))
    bases = networks or {name: zoo.load(name) for name in zoo.names()}
    for (width, depth), (name, base) in itertools.product(plain, bases.items()):
        network = scaled(base, width, depth)
        if network.digest() in seen:
            continue
        seen.add(network.digest())
        factors = f" x width {width:g}, depth {depth:g}" if (width, depth) != (1, 1) else ""
        yield network.renamed(name + factors)


def _scaled_head(head: Head, before: int, after: int) -> Head:
    if before == after or head.type not in ("efficientvit", "efficientvit_seg"):
        return head
    options = []
    if head.type == "efficientvit_seg":  # a quarter of the last stage's width in B0 to B3
        narrow = {"width": _nearest(_int(head.option["width"]) * after / before, _STEP)}
        return replace(head, options=tuple({**head.option, **narrow}.items()))
    for name, value in head.options:
        assert isinstance(value, int)
        ratio = head_width(name, after) / head_width(name, before)
        options.append((name, _nearest(value * ratio, _STEP)))
    return replace(head, options=tuple(options))


@lru_cache(maxsize=2)
def _published_heads(option: str) -> tuple[list[int], list[float]]:
    """Return the last widths of the published EfficientViTs, ascending, and an option there."""
    pairs = []
    for name in zoo.names():
        network = zoo.load(name)
        value = network.head.option.get(option)
        if isinstance(value, int):
            pairs.append((network.stages[-1].width, float(value)))
    pairs.sort()
    return [width for width, _ in pairs], [value for _, value in pairs]


def _int(value: OptionValue) -> int:
    assert isinstance(value, int)
    return value


def _nearest(value: float, step: int = 1) -> int:
    """Return the multiple of a step, one at least, that is nearest; halves go up."""
    return max(step, int(value / step + 0.5) * step)
