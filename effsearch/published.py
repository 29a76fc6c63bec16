"""What was published of the networks: ImageNet-1k top-1, and results in dense prediction."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from searchspace.schema import SEGMENTATION

_AT = re.compile(r" at \d+(x\d+)?$")


@dataclass(frozen=True)
class Published:
    """One network's published accuracy.

    Attributes:
        family: family name.
        top1: ImageNet-1k top-1 in percent.
        distilled: whether a teacher was used.
        source: where it was published.
    """

    family: str
    top1: float
    distilled: bool
    source: str


@lru_cache(maxsize=1)
def published() -> dict[str, Published]:
    """Return the published record of each network by name."""
    text = files("effsearch").joinpath("data/published.csv").read_text()
    return {
        row["network"]: Published(
            row["family"], float(row["top1"]), row["distilled"] == "1", row["source"]
        )
        for row in csv.DictReader(text.splitlines())
    }


@dataclass(frozen=True)
class DenseResult:
    """A published result in dense prediction.

    Attributes:
        network: the whole network or, for detection, the backbone.
        task: `segmentation` or `detection`.
        dataset: what it was trained and evaluated on.
        head: what stands on the backbone, and how long a detector was trained.
        resolution: of the image, as the source has it.
        metric: mIoU, box AP or mask AP, in percent.
        value: the result.
        source: where it was published.
    """

    network: str
    task: str
    dataset: str
    head: str
    resolution: str
    metric: str
    value: float
    source: str


def published_numbers(name: str) -> dict[str, Any]:
    """Return what was published of a network's accuracy; values are None where nothing was.

    Args:
        name: of a network of the zoo; a segmentation network's may say at what other resolution
            it is ("NAME at 512x1024"), which its weights take. Of one with other widths, depths or
            classes nothing was published.
    """
    for found in dense_results():
        if found.task == SEGMENTATION and found.network == name.split(" ")[0]:
            same = _AT.sub("", name) == found.network
            return {
                "published_miou": found.value if same else None,
                "published_dataset": found.dataset if same else None,
                "published_resolution": found.resolution if same else None,
            }
    known = published().get(name)
    return {
        "published_top1": None if known is None else known.top1,
        "published_top1_distilled": None if known is None else known.distilled,
    }


@lru_cache(maxsize=1)
def dense_results() -> tuple[DenseResult, ...]:
    """Return the published results of the zoo's networks in dense prediction."""
    text = files("effsearch").joinpath("data/dense.csv").read_text()
    return tuple(
        DenseResult(value=float(row.pop("value")), **row)
        for row in csv.DictReader(text.splitlines())
    )
