"""The order by training, and what it says of the order by score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations

import numpy as np
from numpy.typing import NDArray

from effsearch.latency.table import Z80

FINISHED, STOPPED, FAILED = "finished", "stopped", "failed"
# An order that agrees this well by chance in one case of ten says something; in more it does not.
CHANCE = 0.1
_EXACT = 8  # networks whose orders are all looked at


@dataclass(frozen=True)
class Training:
    """What came of training one network.

    Attributes:
        digest: of the network.
        curve: (epochs done, the task's metric in %), an entry an epoch.
        state: `finished`: all epochs; `stopped`: ended early by successive halving; `failed`.
        reason: why it failed.
        seconds: wall time of its epochs.
        devices: what they ran on.
        stds: the metric's standard errors by epoch, where they are stated; elsewhere they follow
            from the metric and the number of images.
    """

    digest: str
    curve: tuple[tuple[int, float], ...]
    state: str
    reason: str = ""
    seconds: float = 0.0
    devices: tuple[str, ...] = ()
    stds: Mapping[int, float] = field(default_factory=dict)

    @property
    def epochs(self) -> int:
        """Epochs done."""
        return self.curve[-1][0] if self.curve else 0

    @property
    def value(self) -> float:
        """The metric in % after the last of them."""
        return self.curve[-1][1] if self.curve else math.nan

    def at(self, epoch: int) -> float:
        """The metric in % after so many epochs; NaN where it did not get there."""
        return dict(self.curve).get(epoch, math.nan)

    def std(self, images: int, epoch: int | None = None) -> float:
        """The metric's standard error in percentage points after the last, or so many, epochs.

        Args:
            images: validation images.
            epoch: epochs done; None for all.
        """
        epoch = self.epochs if epoch is None else epoch
        stated = self.stds.get(epoch)
        return standard_error(self.at(epoch), images) if stated is None else stated


def rank(trainings: Sequence[Training]) -> list[Training]:
    """Return the trainings that did not fail, best first.

    Those that got all epochs are ordered by their last value. One that was stopped takes the place
    that agrees with most of the others in what they had at the epoch where it stopped; of places
    that agree equally well, the lowest. So nobody is compared across different numbers of epochs,
    and to run first, before there was anybody to be stopped by, is no merit.

    Args:
        trainings: in the order that decides between equals.
    """
    done = [t for t in trainings if t.state == FINISHED]
    order = sorted(done, key=lambda t: -t.value)
    stopped = [t for t in trainings if t.state == STOPPED]
    for training in sorted(stopped, key=lambda t: (-t.epochs, -t.value)):
        order.insert(_place(training, order), training)
    return order


def _place(training: Training, order: Sequence[Training]) -> int:
    better = [other.at(training.epochs) >= training.value for other in order]
    # Place p disagrees with those above it that were worse, and those below it that were better.
    disagreements = [
        sum(not b for b in better[:place]) + sum(better[place:]) for place in range(len(order) + 1)
    ]
    least = min(disagreements)
    return max(place for place, count in enumerate(disagreements) if count == least)


def level(order: Sequence[Training]) -> list[list[Training]]:
    """Return an order in groups of equals: the same epochs, and the same value after them."""
    groups: list[list[Training]] = []
    for training in order:
        last = groups[-1][-1] if groups else None
        if last is not None and (last.epochs, last.value) == (training.epochs, training.value):
            groups[-1].append(training)
        else:
            groups.append([training])
    return groups


@dataclass(frozen=True)
class Agreement:
    """How well two orders of the same networks agree.

    Attributes:
        networks: how many.
        tau: Kendall's tau-b, -1 to 1; NaN where one order tells no two networks apart.
        kept: pairs in the same order.
        level: pairs that the second order does not tell apart.
        pairs: all pairs.
        chance: how often random orders agree at least as well.
    """

    networks: int
    tau: float
    kept: int
    level: int
    pairs: int
    chance: float


def agreement(before: Sequence[str], after: Sequence[Sequence[str]]) -> Agreement:
    """Return how well two orders of the same names agree.

    Args:
        before: names, best first.
        after: the same names in groups of equals, best first.
    """
    places = {name: place for place, group in enumerate(after) for name in group}
    ranks = np.array([places[name] for name in before])
    count = len(ranks)
    first, second = np.triu_indices(count, 1)
    signs = np.sign(ranks[second] - ranks[first])
    kept, equal, pairs = int((signs > 0).sum()), int((signs == 0).sum()), len(signs)
    found = int(signs.sum())
    if pairs == equal:
        return Agreement(count, math.nan, kept, equal, pairs, 1.0)
    orders = _orders(count)
    sums = np.sign(ranks[orders[:, second]] - ranks[orders[:, first]]).sum(1)
    return Agreement(
        count,
        found / math.sqrt(pairs * (pairs - equal)),
        kept,
        equal,
        pairs,
        float((sums >= found).mean()),
    )


def _orders(count: int) -> NDArray[np.int64]:
    """Return all orders of so many, or 50 000 random ones where there are more."""
    if count <= _EXACT:
        return np.array(list(permutations(range(count))))
    rng = np.random.default_rng(0)
    return rng.permuted(np.tile(np.arange(count), (50_000, 1)), axis=1)


def sureness(found: Agreement) -> str:
    """Return in words how well two orders agree, and how sure that is."""
    if found.networks < 2:
        return "Fewer than two networks were trained, so there is no order to compare."
    if math.isnan(found.tau):
        return "Training left all networks level, so there is no order to compare."
    verdict = (
        "so the score orders these networks better than chance"
        if found.chance <= CHANCE
        else "so this says little on whether the score orders such networks"
    )
    ties = f", {found.level} came out level" if found.level else ""
    return (
        f"Kendall's tau of the order by score and the order by training is {found.tau:+.2f} over "
        f"{found.networks} networks: {found.kept} of {found.pairs} pairs kept their order{ties}. A "
        f"random order agrees at least as well in {_percent(found.chance)} of all cases, {verdict}."
    )


def standard_error(top1: float, images: int) -> float:
    """Return the standard error of a top-1 in percentage points, from the images' number alone.

    Args:
        top1: in %.
        images: validation images.
    """
    share = min(max(top1 / 100, 0.0), 1.0)
    # Half an image keeps a perfect score from being called exact.
    share = (share * images + 0.5) / (images + 1)
    return 100 * math.sqrt(share * (1 - share) / images)


def difference(
    first: Training, second: Training, images: int, key: str = "top1"
) -> Mapping[str, float]:
    """Return by how much the first is better, at the last epoch that both did, with its interval.

    The two errors are taken as independent; the images are the same, which only narrows it. How
    another seed would turn out is not in it.

    Args:
        first: a training.
        second: another.
        images: validation images.
        key: what the difference of the metric is called.
    """
    epoch = min(first.epochs, second.epochs)
    a, b = first.at(epoch), second.at(epoch)
    std = math.hypot(first.std(images, epoch), second.std(images, epoch))
    return {
        key: a - b,
        "std": std,
        "low": a - b - Z80 * std,
        "high": a - b + Z80 * std,
        "epoch": epoch,
    }


def undecided(order: Sequence[Training], images: int) -> tuple[int, int]:
    """Return how many pairs the validation images cannot tell apart (80 %), and all pairs.

    Args:
        order: trainings.
        images: validation images.
    """
    found = [difference(a, b, images) for a, b in combinations(order, 2)]
    return sum(f["low"] <= 0 <= f["high"] for f in found), len(found)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.1 else f"{100 * share:.0f} %"
