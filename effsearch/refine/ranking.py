"""The order by training, and what it says of the order by score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from scipy.stats import kendalltau

from effsearch.latency.table import Z80

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
# An order that agrees this well by chance in one case of ten says something; in more it does not.
CHANCE = 0.1


@dataclass(frozen=True)
class Training:
    """What came of training one network.

    Attributes:
        digest: of the network.
        curve: (epochs done, top-1 in %), an entry an epoch.
        state: `finished`: all epochs; `stopped`: ended early by successive halving; `failed`.
        reason: why it failed.
        seconds: wall time of its epochs.
        devices: what they ran on.
    """

    digest: str
    curve: tuple[tuple[int, float], ...]
    state: str
    reason: str = ""
    seconds: float = 0.0
    devices: tuple[str, ...] = ()

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return self.curve[-1][0] if self.curve else 0

    @property
    def top1(self) -> float:
        """Top-1 in % after the last of them."""
        return self.curve[-1][1] if self.curve else math.nan

    def at(self, epoch: int) -> float:
        """Top-1 in % after so many epochs; NaN where it did not get there."""
        return dict(self.curve).get(epoch, math.nan)


def rank(trainings: Sequence[Training]) -> list[Training]:
    """Return the trainings that did not fail, best first.

    Those that got all epochs are ordered by their last top-1. One that was stopped takes the place
    that agrees with most of the others in what they had at the epoch where it stopped; of places
    that agree equally well, the lowest. So nobody is compared across different numbers of epochs,
    and to run first, before there was anybody to be stopped by, is no merit.

    Args:
        trainings: in the order that decides between equals.
    """
    done = [t for t in trainings if t.state == FINISHED]
    order = sorted(done, key=lambda t: -t.top1)
    stopped = [t for t in trainings if t.state == STOPPED]
    for training in sorted(stopped, key=lambda t: (-t.epochs, -t.top1)):
        order.insert(_place(training, order), training)
    return order


def _place(training: Training, order: Sequence[Training]) -> int:
    better = [other.at(training.epochs) >= training.top1 for other in order]
    # Place p disagrees with those above it that were worse, and those below it that were better.
    disagreements = [
        sum(not b for b in better[:place]) + sum(better[place:]) for place in range(len(order) + 1)
    ]
    least = min(disagreements)
    return max(place for place, count in enumerate(disagreements) if count == least)


@dataclass(frozen=True)
class Agreement:
    """How well two orders of the same networks agree.

    Attributes:
        networks: how many.
        tau: Kendall's tau, -1 to 1; NaN for fewer than two networks.
        kept: pairs in the same order.
        pairs: all pairs.
        chance: how often random orders agree at least as well.
    """

    networks: int
    tau: float
    kept: int
    pairs: int
    chance: float


def agreement(before: Sequence[str], after: Sequence[str]) -> Agreement:
    """Return how well two orders of the same names agree."""
    count = len(before)
    pairs = count * (count - 1) // 2
    if count < 2:
        return Agreement(count, math.nan, 0, 0, 1.0)
    places = [after.index(name) for name in before]
    kept = sum(a < b for a, b in combinations(places, 2))
    found = kendalltau(range(count), places, alternative="greater", method="exact")
    return Agreement(count, float(found.statistic), kept, pairs, float(found.pvalue))


def sureness(found: Agreement) -> str:
    """Return in words how well two orders agree, and how sure that is."""
    if found.networks < 2:
        return "Fewer than two networks were trained, so there is no order to compare."
    verdict = (
        "so the score orders these networks better than chance"
        if found.chance <= CHANCE
        else "so this says little on whether the score orders such networks"
    )
    return (
        f"Kendall's tau of the order by score and the order by training is {found.tau:+.2f} over "
        f"{found.networks} networks: {found.kept} of {found.pairs} pairs kept their order. A "
        f"random order agrees at least as well in {_percent(found.chance)} of all cases, {verdict}."
    )


def standard_error(top1: float, images: int) -> float:
    """Return the standard error in points of a top-1 in %, from the number of images alone."""
    share = min(max(top1 / 100, 0.0), 1.0)
    # Half an image keeps a perfect score from being called exact.
    share = (share * images + 0.5) / (images + 1)
    return 100 * math.sqrt(share * (1 - share) / images)


def difference(first: Training, second: Training, images: int) -> Mapping[str, float]:
    """Return by how much the first is better, at the last epoch that both did, with its interval.

    The two errors are taken as independent; the images are the same, which only narrows it. How
    another seed would turn out is not in it.

    Args:
        first: a training.
        second: another.
        images: validation images.
    """
    epoch = min(first.epochs, second.epochs)
    a, b = first.at(epoch), second.at(epoch)
    std = math.hypot(standard_error(a, images), standard_error(b, images))
    return {
        "top1": a - b,
        "std": std,
        "low": a - b - Z80 * std,
        "high": a - b + Z80 * std,
        "epoch": epoch,
    }


def undecided(order: Sequence[Training], images: int) -> tuple[int, int]:
    """Return how many pairs the validation images cannot tell apart (80 %), and all pairs."""
    found = [difference(a, b, images) for a, b in combinations(order, 2)]
    return sum(f["low"] <= 0 <= f["high"] for f in found), len(found)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
