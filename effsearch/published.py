"""What was published of the 16 networks: ImageNet-1k top-1 and how they were trained."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files


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
