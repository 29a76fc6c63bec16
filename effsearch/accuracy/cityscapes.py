"""`CityscapesEstimate`: estimated Cityscapes mIoU of a segmentation network.

The logarithm of the mIoU's error is a line in that of the ImageNet error that the backbone is
estimated to have as a classifier at 224 px, plus what the images' resolution adds. The line is
learnt from EfficientViT-Seg, the resolution from networks that were published at two: few, so the
deviations are wide. Nobody published what the head's sizes are worth: a head unlike the published
ones costs certainty and no points.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from effsearch import validation
from effsearch.accuracy.estimate import top1_of
from effsearch.accuracy.features import FAMILIES, Array, family_shares, log2_side
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.accuracy.score import Score, TotalsScore
from effsearch.accuracy.score_file import load_score_file
from searchspace import Architecture, SearchSpace
from searchspace.architecture import Head, head
from searchspace.errors import UserError
from searchspace.schema import SEGMENTATION, OptionValue
from searchspace.space_file import Axes
from searchspace.units import Unit, units

DATA = Path(__file__).parent / "data" / "cityscapes.json"
PUBLISHED_AT = (1024, 2048)  # px, height and width: all of Cityscapes' image
BACKBONE_AT = 224  # px, where the ImageNet estimate is surest
# The same plain classifier behind every backbone, so that they differ in their features alone. With
# it networks left out are estimated better than with EfficientViT's
# (results/accuracy/cityscapes_estimate.md).
CLASSIFIER = head("shvit")

TOTALS = (
    "image.log2_side",
    "head.log2_side",
    "head.log2_width",
    "head.depth",
    "head.stages",
    "head.expanded",
    "laterals.log2_factor",
)
"""What the estimate sees of a network beside its backbone.

Only its stem and its head add to them, but for the logs of the factors by which laterals enlarge.
"""
_INDEX = {name: i for i, name in enumerate(TOTALS)}
_HEAD = slice(_INDEX["head.log2_side"], _INDEX["head.expanded"] + 1)


class HeadStds(BaseModel):
    """Standard deviations of the log error by which a head may differ; assumed, not fitted.

    Attributes:
        width: for each octave that its width is off a quarter of the last stage's.
        depth: for each bottleneck more or fewer than published.
        stage: for each stage less than three that it uses.
        finest: for each octave that the finest map that it uses is coarser than its stride.
        stride: for each octave that its stride is off 8.
        expansion: where there is none before the classifier.
    """

    width: float = Field(ge=0)
    depth: float = Field(ge=0)
    stage: float = Field(ge=0)
    finest: float = Field(ge=0)
    stride: float = Field(ge=0)
    expansion: float = Field(ge=0)


class CityscapesCard(BaseModel):
    """What the data file holds, as far as scores depend on it.

    Attributes:
        level: log of the error in percent at `PUBLISHED_AT`, where the log of the backbone's
            ImageNet error is `centre`.
        slope: change of the log error with that of the ImageNet error.
        centre: of the line.
        covariance: of level and slope.
        resolution: log error that a side of half of `PUBLISHED_AT` adds.
        resolution_std: its standard deviation.
        noise_std: of the log error, about the line.
        series_std: more of it for backbones that are not EfficientViT's.
        head_std: what a head unlike the published ones adds to the spread.
        held_out: errors of networks that were left out of the fit.
    """

    schema_: Literal[1] = Field(alias="schema")
    level: float
    slope: float
    centre: float
    covariance: tuple[tuple[float, float], tuple[float, float]]
    resolution: float
    resolution_std: float = Field(ge=0)
    noise_std: float = Field(ge=0)
    series_std: float = Field(ge=0)
    head_std: HeadStds
    held_out: dict[str, Any]


class CityscapesEstimate(TotalsScore):
    """mIoU in percent, as if trained as EfficientViT-Seg was, on images of the network's own size.

    Cai et al., arXiv 2205.14756; `python -m results.accuracy.fit_cityscapes` says where the numbers
    come from.

    Attributes:
        card: everything that the data file says.
        backbone: estimates the backbone.
    """

    name = "cityscapes"
    kind = "estimated"
    unit = "Cityscapes mIoU, %"
    task = SEGMENTATION
    note = (
        "As if trained on Cityscapes as EfficientViT-Seg was, at the network's own resolution, "
        "after ImageNet. It rests on few published networks; candidates are ranked by the lower "
        "bound (80%)."
    )

    def __init__(self, card: Mapping[str, Any], backbone: ImagenetEstimate | None = None) -> None:
        """Build from the contents of a data file.

        Args:
            card: those contents.
            backbone: estimates the backbone; the shipped one where None.

        Raises:
            UserError: where a field is missing or out of range; names it.
        """
        self.card = card
        self.backbone = backbone or ImagenetEstimate.load()
        self._fitted = validation.read(CityscapesCard, card, "score file")

    @classmethod
    def load(cls, path: str | Path = DATA) -> CityscapesEstimate:
        """Read the shipped data file, or another.

        Raises:
            UserError: where it is missing, not JSON, or not of this schema.
        """
        return load_score_file(path, cls)

    @cached_property
    def held_out(self) -> dict[str, Any]:
        """Errors of networks that were left out of the fit."""
        return self._fitted.held_out

    def backbones(self, space: SearchSpace) -> SearchSpace:
        """Return the space of the members' backbones as classifiers at 224 px."""
        heads: dict[str, Axes] = {CLASSIFIER.type: {}}
        return SearchSpace(replace(space.spec, resolution=(BACKBONE_AT,), heads=heads))

    def backbone_features(self, units: Sequence[Unit]) -> Array:
        """Return what units of backbones add to their totals, (n, 1 + len(BACKBONE_TOTALS)).

        The first is the binary logarithm of the last stage's width.
        """
        widths = [math.log2(unit.in_width) if unit.role == "head" else 0.0 for unit in units]
        return np.column_stack([widths, self.backbone.units_features(units)])

    def units_features(self, units: Sequence[Unit]) -> Array:
        """Return what units add to the totals of the network itself, (n, len(TOTALS))."""
        found = np.zeros((len(units), len(TOTALS)))
        for row, unit in enumerate(units):
            if unit.role == "stem":
                found[row, _INDEX["image.log2_side"]] = log2_side(unit)
            elif unit.role == "head":
                options = dict(unit.options)
                found[row, _HEAD] = (
                    log2_side(unit),
                    math.log2(unit.in_width),
                    options["depth"],
                    options["inputs"],
                    bool(options["final_expansion"]),
                )
            elif unit.role == "lateral":
                factor = dict(unit.options)["factor"]
                found[row, _INDEX["laterals.log2_factor"]] = math.log2(_int(factor))
        return found

    def score_features(self, matrix: Array) -> tuple[Array, Array]:
        """Return scores and standard deviations in percent, (n,) each.

        Args:
            matrix: totals of the networks and, behind them, of their backbones,
                (n, len(TOTALS) + 1 + len(BACKBONE_TOTALS)).
        """
        fitted, count = self._fitted, len(TOTALS)
        own, last_width, backbone = matrix[:, :count], matrix[:, count], matrix[:, count + 1 :]
        error, error_std = self.backbone.estimate.log_error(backbone)
        line = np.column_stack([np.ones(len(error)), error - fitted.centre])
        smaller = smaller_images(own[:, _INDEX["image.log2_side"]])
        mean = line @ [fitted.level, fitted.slope] + fitted.resolution * smaller
        foreign = 1 - family_shares(backbone)[:, FAMILIES.index("EfficientViT")]
        variance = np.einsum("ij,jk,ik->i", line, np.array(fitted.covariance), line)
        variance += (fitted.slope * error_std) ** 2 + fitted.noise_std**2
        variance += (fitted.series_std * foreign) ** 2 + (fitted.resolution_std * smaller) ** 2
        variance += self._head_variance(own, last_width)
        return top1_of(mean, np.sqrt(variance))

    def score(self, architecture: Architecture) -> Score:
        """Return the estimate for one architecture.

        Raises:
            UserError: where it is no segmentation network, or its backbone is none for 224 px.
        """
        if architecture.task != SEGMENTATION:
            raise UserError(f"a {architecture.task} network; cityscapes scores segmentation ones")
        own = self.units_features([placed.unit for placed in units(architecture)]).sum(axis=0)
        last_width = math.log2(architecture.stages[-1].width)
        backbone = self.backbone.features(classifier(architecture))
        mean, std = self.score_features(np.concatenate([own, [last_width], backbone])[None])
        return Score(float(mean[0]), float(std[0]))

    def _head_variance(self, own: Array, last_width: Array) -> Array:
        """Return what heads unlike the published ones add to the variance, (n,)."""
        c = {name: own[:, i] for name, i in _INDEX.items()}
        std = self._fitted.head_std
        usual_depth = np.clip(1 + 2 * (c["head.log2_width"] - 5), 1, 3)  # 1 at width 32, 3 at 64
        stride = c["image.log2_side"] - c["head.log2_side"]
        # Each further map is half as fine: factors f, 2f, 4f.
        finest = c["laterals.log2_factor"] / c["head.stages"] - (c["head.stages"] - 1) / 2
        off = (
            std.width * (c["head.log2_width"] - (last_width - 2)),
            std.depth * (c["head.depth"] - usual_depth),
            std.stage * np.maximum(3 - c["head.stages"], 0),
            std.finest * finest,
            std.stride * (stride - 3),
            std.expansion * (1 - c["head.expanded"]),
        )
        variance: Array = np.sum(np.square(off), axis=0)
        return variance


def classifier(architecture: Architecture, behind: Head = CLASSIFIER) -> Architecture:
    """Return the classifier at 224 px that a network's backbone makes with a head behind it.

    Raises:
        UserError: where its maps would be too small.
    """
    return replace(architecture, resolution=BACKBONE_AT, head=behind, name="")


def _int(value: OptionValue) -> int:
    assert isinstance(value, int)
    return value


def smaller_images(log2_side: Array) -> Array:
    """Return how much smaller images are than `PUBLISHED_AT`: 1 at half the side, 0 at it."""
    published = math.log2(math.prod(PUBLISHED_AT)) / 2
    smaller: Array = np.exp2(published - log2_side) - 1
    return smaller
