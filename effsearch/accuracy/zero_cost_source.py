"""`ZeroCost`: zero-cost scores as a source, an ensemble on a fixed scale.

No zero-cost score beat counting multiply-accumulates on the published networks of this space
(`results/accuracy/zero_cost.md`): read it beside the counts.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from effsearch.accuracy.score import Score, ScoreSource
from effsearch.accuracy.zero_cost import scores
from searchspace import Architecture, build

# Expressivity's order needs real images, and this source takes none: it is left out. Gradients
# cost ten times what a forward pass does and rank the same on fewer pixels.
SETTINGS = {  # scores: side of the images in pixels, how many
    ("synflow", "naswot"): (96, 16),
    ("zico",): (64, 8),
}
MEMBERS = tuple(name for names in SETTINGS for name in names)
DATA = Path(__file__).parent / "data" / "zero_cost.json"
CLASSES = 100
NOTE = (
    "No zero-cost score beat counting MACs on the published networks, and their mean only ties: a "
    "second opinion."
)


class ZeroCost(ScoreSource):
    """Mean of zero-cost scores, each in standard deviations of the published networks.

    Attributes:
        members: the scores, of `zero_cost.NAMES`.
        scale: mean and standard deviation of each over the published networks.
    """

    name = "zero-cost"
    kind = "estimated"
    unit = "standard deviations of the published networks"
    note = NOTE

    def __init__(self, seed: int = 0) -> None:
        """Prepare the images and the scale.

        Args:
            seed: of the images and the weights.
        """
        self.members = MEMBERS
        self._seed = seed
        self.scale: Mapping[str, Sequence[float]] = json.loads(DATA.read_text())["scale"]

    def score(self, architecture: Architecture) -> Score:
        """Return the mean over the members, and its standard error: how far they disagree.

        NaN where every member is undefined.
        """
        return combine(member_scores(architecture, self._seed), self.scale)


def combine(found: Mapping[str, float], scale: Mapping[str, Sequence[float]]) -> Score:
    """Return the mean of the defined scores in standard deviations, and its standard error."""
    values = []
    for name, value in found.items():
        mean, std = scale[name]
        if math.isfinite(value):
            values.append((value - mean) / std)
    if not values:
        return Score(math.nan, math.nan)
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 1.0
    return Score(float(np.mean(values)), spread / math.sqrt(len(values)))


def member_scores(architecture: Architecture, seed: int = 0) -> dict[str, float]:
    """Return the members' scores of a freshly built network, on synthetic images."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = build(architecture, num_classes=CLASSES)
    found: dict[str, float] = {}
    for names, (side, count) in SETTINGS.items():
        batch, labels = synthetic_images(count, side, seed)
        found |= scores(network, batch, labels, names=names, seed=seed)
    return found


def synthetic_images(count: int, side: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (count, 3, side, side) with natural images' 1/f amplitudes, and labels.

    So that scores need no data: of mean 0 and standard deviation 1 each.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(count, 3, side, side, generator=generator)
    rows = torch.fft.fftfreq(side)[:, None] * side
    columns = torch.fft.rfftfreq(side)[None] * side
    frequency = (rows**2 + columns**2).sqrt().clamp(min=1)
    images = torch.fft.irfft2(torch.fft.rfft2(noise) / frequency, s=(side, side))
    images = images - images.mean((1, 2, 3), keepdim=True)
    images = images / images.std((1, 2, 3), keepdim=True)
    return images, torch.randint(CLASSES, (count,), generator=generator)
