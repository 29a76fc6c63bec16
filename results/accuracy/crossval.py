"""Repeated nested cross-validation of predictors over the trained networks.

Folds split architectures, so that the seeds of one never lie on both sides. Whatever a predictor
chooses, settings or which of several models to be, it chooses inside the training folds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from effsearch.accuracy.features import Array
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.accuracy.trained.encoding import Points
from effsearch.accuracy.trained.joint import Joint
from effsearch.accuracy.trained.scaling import log_odds
from results.accuracy.predictors import PREDICTORS, Predictor

Rows = NDArray[np.intp]
Fit = Callable[[Rows], Callable[[Rows], tuple[Array, Array]]]
"""Fits on some networks and returns what predicts others: means and standard deviations."""

FOLDS = 5
REPEATS = 10


def folds(count: int, seed: int, parts: int = FOLDS) -> Iterator[tuple[Rows, Rows]]:
    """Yield rows to train on and rows to judge; every row is judged once."""
    order = np.random.default_rng(seed).permutation(count)
    for part in np.array_split(order, parts):
        yield np.setdiff1d(order, part), np.sort(part)


def direct(predictor: Predictor, x: Array, z: Array) -> Fit:
    """Return a predictor of log odds z (n,) from columns x (n, d)."""

    def fit(train: Rows) -> Callable[[Rows], tuple[Array, Array]]:
        fitted = predictor(x[train], z[train])
        return lambda rows: fitted(x[rows])

    return fit


def joint(source: ImagenetEstimate, known: Points, points: Points, z: Array) -> Fit:
    """Return the joint model's prediction of log odds in the short training."""

    def fit(train: Rows) -> Callable[[Rows], tuple[Array, Array]]:
        model = Joint(source.estimate, known, points.take(train), z[train])
        return lambda rows: model.log_odds(points.take(rows))

    return fit


def joint_imagenet(source: ImagenetEstimate, known: Points, points: Points, z: Array) -> Fit:
    """Return the joint model's ImageNet estimate: minus the log error."""

    def fit(train: Rows) -> Callable[[Rows], tuple[Array, Array]]:
        model = Joint(source.estimate, known, points.take(train), z[train])

        def predict(rows: Rows) -> tuple[Array, Array]:
            mean, std = model.log_error(points.take(rows))
            return -mean, std

        return predict

    return fit


def chosen_of(members: Mapping[str, Fit], z: Array, parts: int = 4) -> Fit:
    """Return whichever member has the least error in a cross-validation of the training rows."""

    def fit(train: Rows) -> Callable[[Rows], tuple[Array, Array]]:
        errors = dict.fromkeys(members, 0.0)
        for inner, left in folds(len(train), 0, parts):
            for name, member in members.items():
                mean, _ = member(train[inner])(train[left])
                errors[name] += float(((mean - z[train[left]]) ** 2).sum())
        return members[min(errors, key=lambda name: errors[name])](train)

    return fit


def out_of_fold(fit: Fit, count: int, repeats: int = REPEATS) -> tuple[Array, Array]:
    """Return predictions of left-out networks, means and deviations, (repeats, count) each."""
    means, stds = np.empty((repeats, count)), np.empty((repeats, count))
    for repeat in range(repeats):
        for train, left in folds(count, repeat):
            means[repeat, left], stds[repeat, left] = fit(train)(left)
    return means, stds


def contenders(
    source: ImagenetEstimate,
    known: Points,
    points: Points,
    top1: Array,
    zero_cost: Array | None = None,
) -> dict[str, Fit]:
    """Return all predictors that are judged.

    Args:
        source: the published estimate.
        known: its networks.
        points: the trained networks.
        top1: theirs in % (n,).
        zero_cost: their zero-cost scores (n, d), tamed, of which some predictors then know too.
    """
    z = log_odds(top1)
    published, _ = source.score_features(points.totals)
    x = np.column_stack([points.encodings, published])
    members = {name: direct(predictor, x, z) for name, predictor in PREDICTORS.items()}
    members["joint"] = joint(source, known, points, z)
    found = dict(members)
    found["chosen inside"] = chosen_of(members, z)
    if zero_cost is not None:
        more = np.column_stack([x, zero_cost])
        for name in ("ridge", "gaussian process", "ridge and process", "mean of all"):
            found[f"{name}, zero-cost too"] = direct(PREDICTORS[name], more, z)
    found["joint, ImageNet"] = joint_imagenet(source, known, points, z)
    return found
