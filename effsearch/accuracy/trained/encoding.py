"""What a predictor sees of a network: sizes, the shape of the whole, and each stage by itself.

Stages are told apart by the side of their tokens, not by their number: stems of stride 4 and 16
then describe the same thing by the same columns. Everything is a sum or a mean over the blocks, so
that an architecture costs microseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from effsearch.accuracy.features import SHAPE, TOTALS, Array, Features, family_shares, shape
from effsearch.accuracy.features import block_options as numeric_options
from searchspace import Architecture
from searchspace.schema import BLOCKS, FAMILIES
from searchspace.units import Unit, units

SIDES = (40, 20, 10)  # of the tokens: above 40, 20 and 10, and at most 10
_OPTIONS = ("expansion", "kernel", "head_width", "attended", "partial_ratio", "qk_dim")
_SLOTS = len(SIDES) + 1

SIZES = ("log_gmacs", "log_mparams", "log_mactivations")
WHOLE = (
    *SHAPE[1:],  # without size, which is SIZES' first
    "stem.log2_stride",
    "stem.log2_width",
    "stages",
    "patch_merging",
    *(f"{family}.share" for family in FAMILIES),
    "mixing",
)
TYPES = tuple(f"{name}.depth" for name in BLOCKS)
OPTIONS = tuple(f"{name}.log2" for name in (*_OPTIONS, "heads"))
STAGES = tuple(
    f"side{i}.{what}" for i in range(_SLOTS) for what in ("depth", "log2_width", "attention")
)

GROUPS = {"sizes": SIZES, "whole": WHOLE, "types": TYPES, "options": OPTIONS, "stages": STAGES}
"""Names of the columns of an encoding, by group, in order."""
NAMES = tuple(name for group in GROUPS.values() for name in group)

_TYPE = {name: i for i, name in enumerate(BLOCKS)}


def columns(groups: Sequence[str]) -> list[int]:
    """Return the indices of the groups' columns."""
    chosen = {name for group in groups for name in GROUPS[group]}
    return [i for i, name in enumerate(NAMES) if name in chosen]


@lru_cache(maxsize=200_000)
def _block(unit: Unit) -> tuple[Array, Array, int]:
    """Return a block's part of the option sums, their counts, and its slot."""
    values, counts = np.zeros(len(OPTIONS)), np.zeros(len(OPTIONS))
    found = dict(numeric_options(unit))
    heads = dict(unit.options).get("heads")
    if isinstance(heads, int | float) and heads:
        found["heads"] = float(heads)
    for i, name in enumerate((*_OPTIONS, "heads")):
        if found.get(name):
            values[i], counts[i] = math.log2(found[name]), 1
    return values, counts, sum(unit.side <= edge for edge in SIDES)


@dataclass(frozen=True)
class Points:
    """What the predictors see of networks.

    Attributes:
        totals: (n, len(TOTALS)).
        encodings: (n, len(NAMES)).
    """

    totals: Array
    encodings: Array

    def take(self, rows: Any) -> Points:
        """Return some of the networks."""
        return Points(self.totals[rows], self.encodings[rows])


class Encoder:
    """Encodes architectures; keeps what it computed of their units.

    Args:
        features: what the published estimate sees of a network.
    """

    def __init__(self, features: Features) -> None:
        self._features = features

    def __call__(self, architecture: Architecture, totals: Array | None = None) -> Array:
        """Return the encoding of one architecture, (len(NAMES),).

        Args:
            architecture: the network.
            totals: its totals where they are at hand.
        """
        if totals is None:
            totals = self._features(architecture)
        row = totals[None]
        whole, shares = shape(row)[0], family_shares(row)[0]
        total = dict(zip(TOTALS, totals, strict=True))
        merging = sum(
            s.downsample is not None and s.downsample.type == "patch_merging"
            for s in architecture.stages
        )
        depths = np.zeros(len(TYPES))
        sums, counts = np.zeros(len(OPTIONS)), np.zeros(len(OPTIONS))
        stages = np.zeros((_SLOTS, 3))
        for placed in units(architecture):
            unit = placed.unit
            if unit.role != "block":
                continue
            values, present, slot = _block(unit)
            sums += values
            counts += present
            depths[_TYPE[unit.type]] += 1
            stages[slot] += (1, math.log2(unit.width), BLOCKS[unit.type].attention)
        stages[:, 1:] /= np.maximum(stages[:, :1], 1)
        stages[:, 0] = np.log1p(stages[:, 0])
        out = [
            np.log(totals[:3]),
            whole[1:],
            [
                total["stem.log2_stride"],
                total["stem.log2_width"],
                len(architecture.stages),
                merging,
                *shares,
                1 - float((shares**2).sum()),
            ],
            np.log1p(depths),
            sums / np.maximum(counts, 1),
            stages.ravel(),
        ]
        encoded: Array = np.concatenate([np.asarray(part, dtype=float) for part in out])
        return encoded

    def points(self, architectures: Sequence[Architecture]) -> Points:
        """Return totals and encodings of networks."""
        totals = np.array([self._features(a) for a in architectures])
        encodings = [self(a, t) for a, t in zip(architectures, totals, strict=True)]
        return Points(totals, np.array(encodings))
