"""`ImagenetEstimate`: estimated ImageNet-1k top-1 of an architecture, the default score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.accuracy.estimate import SLOPES, Estimate, Hyperparameters
from effsearch.accuracy.features import SHAPE, TOTALS, Array, Features
from effsearch.accuracy.score import Score, ScoreSource
from effsearch.accuracy.score_file import load_score_file
from searchspace import Architecture
from searchspace.errors import UserError
from searchspace.units import Unit

SCHEMA = 1
DATA = Path(__file__).parent / "data" / "imagenet.json"


class ImagenetEstimate(ScoreSource):
    """Top-1 in percent, as if trained as its families were published, without distillation.

    Conditioned on the 16 published networks of the space; see `effsearch.accuracy.estimate` for
    the model and `python -m effsearch.accuracy.fit_imagenet` for where its numbers come from.

    Attributes:
        estimate: the conditioned model.
        card: everything else that the data file says: sources, held-out errors, command.
    """

    name = "imagenet"
    kind = "estimated"
    unit = "ImageNet-1k top-1, %"
    note = "As if trained without distillation; candidates are ranked by the lower bound (80%)."

    def __init__(self, card: Mapping[str, Any]) -> None:
        """Build from the contents of a data file.

        Raises:
            UserError: where a field is missing or of the wrong shape; names it.
        """
        _check(card)
        self.card = card
        self._features = Features(card["option_ranges"])
        rows = card["networks"]
        self.estimate = Estimate(
            hyperparameters(card["prior"]),
            np.array([[row["totals"][name] for name in TOTALS] for row in rows], dtype=float),
            np.array([row["distilled"] for row in rows], dtype=float),
            np.array([row["top1"] for row in rows], dtype=float),
        )

    @classmethod
    def load(cls, path: str | Path = DATA) -> ImagenetEstimate:
        """Read the shipped data file, or another.

        Raises:
            UserError: where it is missing, not JSON, or not of this schema.
        """
        return load_score_file(path, cls)

    @cached_property
    def held_out(self) -> dict[str, Any]:
        """Leave-one-out errors on the published networks."""
        return dict(self.card["held_out"])

    def features(self, architecture: Architecture) -> Array:
        """Return the totals that `score_features` takes, (len(TOTALS),)."""
        return self._features(architecture)

    def unit_features(self, unit: Unit) -> Array:
        """Return one unit's part of the totals; an architecture's are the sum of its units'."""
        return self._features.of_unit(unit)

    def score_features(self, matrix: Array) -> tuple[Array, Array]:
        """Return scores and standard deviations in percent, (n,) each, of totals (n, d).

        A row's result does not depend on the other rows.
        """
        return self.estimate.top1(matrix)

    def score(self, architecture: Architecture) -> Score:
        """Return the estimate for one architecture."""
        mean, std = self.score_features(self.features(architecture)[None])
        return Score(float(mean[0]), float(std[0]))


def hyperparameters(prior: Mapping[str, Any]) -> Hyperparameters:
    """Return the prior that a data file describes."""
    return Hyperparameters(
        slopes={name: (row["mean"], row["std"]) for name, row in prior["slopes"].items()},
        scales=prior["scales"],
        **{name: prior[name] for name in _NUMBERS},
    )


_NUMBERS = (
    "family_std",
    "residual_std",
    "residual_length",
    "noise_std",
    "mixing_std",
    "outside_mean",
    "outside_std",
)


def _check(card: object) -> None:
    body = _mapping("score file", card)
    if body.get("schema") != SCHEMA:
        raise UserError(f"schema: {body.get('schema')!r} is not {SCHEMA}; fit the file again")
    prior = _mapping("prior", body.get("prior"))
    for name in _NUMBERS:
        _number(f"prior.{name}", prior.get(name), low=0)
    slopes = _mapping("prior.slopes", prior.get("slopes"))
    for name in (*SLOPES, "distilled"):
        row = _mapping(f"prior.slopes.{name}", slopes.get(name))
        _number(f"prior.slopes.{name}.mean", row.get("mean"))
        _number(f"prior.slopes.{name}.std", row.get("std"), low=0)
    scales = _mapping("prior.scales", prior.get("scales"))
    for name in SHAPE:
        _number(f"prior.scales.{name}", scales.get(name), low=1e-6)
    for type_, ranges in _mapping("option_ranges", body.get("option_ranges")).items():
        for name, pair in _mapping(f"option_ranges.{type_}", ranges).items():
            where = f"option_ranges.{type_}.{name}"
            if not isinstance(pair, list) or len(pair) != 2:
                raise UserError(f"{where}: {pair!r} is not [low, high]")
            for value in pair:
                _number(where, value, low=0)
    _mapping("held_out", body.get("held_out"))
    _check_networks(body.get("networks"))


def _check_networks(rows: object) -> None:
    if not isinstance(rows, Sequence) or not rows:
        raise UserError("networks: missing or empty; a list of known networks is needed")
    for number, row in enumerate(rows):
        where = f"networks[{number}]"
        body = _mapping(where, row)
        _number(f"{where}.top1", body.get("top1"), low=0.1, high=99.9)
        _number(f"{where}.distilled", body.get("distilled"), low=0, high=1)
        totals = _mapping(f"{where}.totals", body.get("totals"))
        for name in TOTALS:
            _number(f"{where}.totals.{name}", totals.get(name), low=0)


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {value!r} is not a mapping of fields")
    return value


def _number(where: str, value: object, low: float = -np.inf, high: float = np.inf) -> None:
    ok = isinstance(value, int | float) and not isinstance(value, bool)
    if not ok or not low <= float(value) <= high:  # type: ignore[arg-type]
        raise UserError(f"{where}: {value!r} is not a number from {low:g} to {high:g}")
