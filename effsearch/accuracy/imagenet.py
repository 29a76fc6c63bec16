"""`ImagenetEstimate`: estimated ImageNet-1k top-1 of an architecture, the default score."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator

from effsearch.accuracy.estimate import COEFFICIENTS, RANGES, Estimate, top1_of
from effsearch.accuracy.features import Array, Features, units_totals
from effsearch.accuracy.options import Flag, ScoreOptions
from effsearch.accuracy.score import Score, TotalsScore
from effsearch.accuracy.score_file import load_score_file
from searchspace import Architecture
from searchspace.errors import UserError
from searchspace.units import Unit

SCHEMA = 2
DATA = Path(__file__).parent / "data" / "imagenet.json"
_STDS = ("noise_std", "foreign_std", "mixing_std")


def _known_recipe(value: object) -> object:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is a recipe that the evidence doesn't know; true or false")
    return value


class ImagenetOptions(ScoreOptions):
    """The training that the estimate is for.

    Attributes:
        recipe_distilled: with a teacher, as EfficientMod and SwiftFormer were published.
    """

    recipe_distilled: Annotated[
        bool,
        BeforeValidator(_known_recipe),
        Flag("Estimate for a training with distillation from a teacher"),
    ] = False


class ImagenetEstimate(TotalsScore):
    """Top-1 in percent, as if trained for 300 epochs as the four families were published.

    Learnt from everything published that is alike enough; see `effsearch.accuracy.estimate` for
    the model and `python -m results.accuracy.fit_imagenet` for where its numbers come from.

    Attributes:
        estimate: the model.
        options: the recipe to estimate for.
        card: everything else that the data file says: sources, held-out errors, command.
        note: what to keep in mind beside a score.
    """

    name = "imagenet"
    kind = "estimated"
    unit = "ImageNet-1k top-1, %"

    def __init__(self, card: Mapping[str, Any], options: ImagenetOptions | None = None) -> None:
        """Build from the contents of a data file.

        Args:
            card: those contents.
            options: the recipe; without distillation where None.

        Raises:
            UserError: where a field is missing or of the wrong shape; names it.
        """
        _check(card)
        self.card = card
        self.options = options or ImagenetOptions()
        how = "with" if self.options.recipe_distilled else "without"
        self.note = (
            f"As if trained for 300 epochs {how} distillation; candidates are ranked by the lower "
            "bound (80%)."
        )
        self._features = Features(card["option_ranges"])
        rows = card["coefficients"]
        at = [list(rows).index(name) for name in COEFFICIENTS]
        covariance = np.array(card["covariance"], dtype=float)
        self.estimate = Estimate(
            np.array([rows[name]["mean"] for name in COEFFICIENTS], dtype=float),
            covariance[np.ix_(at, at)],
            card["shape_ranges"],
            **{name: float(card[name]) for name in _STDS},
        )

    @classmethod
    def load(
        cls, path: str | Path = DATA, options: ImagenetOptions | None = None
    ) -> ImagenetEstimate:
        """Read the shipped data file, or another.

        Raises:
            UserError: where it is missing, not JSON, or not of this schema.
        """
        return load_score_file(path, lambda card: cls(card, options))

    @cached_property
    def held_out(self) -> dict[str, Any]:
        """Errors of networks, families and groups that were left out of the fit."""
        return dict(self.card["held_out"])

    def features(self, architecture: Architecture) -> Array:
        """Return the totals that `score_features` takes, (len(TOTALS),)."""
        return self._features(architecture)

    def units_features(self, units: Sequence[Unit]) -> Array:
        """Return units' parts of the totals (n, d); an architecture's are the sum of its units'."""
        return units_totals(units, self._features.ranges)

    def score_features(self, matrix: Array) -> tuple[Array, Array]:
        """Return scores and standard deviations in percent, (n,) each, of totals (n, d).

        A row's result does not depend on the other rows.
        """
        return self.estimate.top1(matrix, self.options.recipe_distilled)

    def score(self, architecture: Architecture) -> Score:
        """Return the estimate for one architecture."""
        mean, std = self.score_features(self.features(architecture)[None])
        return Score(float(mean[0]), float(std[0]))

    def reasons(self, before: Architecture, after: Architecture) -> dict[str, float]:
        """Return the points that each term of the model adds to the score from one to another.

        A family's own slopes count with the term that they bend. To first order in the log error,
        so that the points add up to the difference but for its curvature.
        """
        totals = np.stack([self.features(before), self.features(after)])
        logs = self.estimate.contributions(totals, self.options.recipe_distilled)
        error = 100 - self.score(before).score
        points: dict[str, float] = {}
        for name, value in zip(COEFFICIENTS, -error * (logs[1] - logs[0]), strict=False):
            term = name.split(".")[0]
            points[term] = points.get(term, 0.0) + float(value)
        return points

    def score_graph(self, path: str | Path) -> Score:
        """Return the estimate for any image classifier, from its ONNX graph alone.

        Its standard deviation is that of networks that were left out with all others of their
        paper: what trained it and what its blocks are is not known.

        Raises:
            UserError: where the file is no ONNX graph of an image classifier.
        """
        from effsearch.accuracy.graph_features import graph_features  # onnx

        totals = graph_features(path)
        log_error = self.estimate.foreign_log_error(totals[None], self.options.recipe_distilled)
        mean, std = top1_of(*log_error)
        return Score(float(mean[0]), float(std[0]))


def _check(card: object) -> None:
    body = _mapping("score file", card)
    if body.get("schema") != SCHEMA:
        raise UserError(f"schema: {body.get('schema')!r} is not {SCHEMA}; fit the file again")
    for name in _STDS:
        _number(name, body.get(name), low=0)
    rows = _mapping("coefficients", body.get("coefficients"))
    for name in COEFFICIENTS:
        row = _mapping(f"coefficients.{name}", rows.get(name))
        _number(f"coefficients.{name}.mean", row.get("mean"))
    matrix = body.get("covariance")
    square = isinstance(matrix, list) and len(matrix) == len(rows)
    if not square or any(not isinstance(r, list) or len(r) != len(rows) for r in matrix):  # type: ignore[union-attr]
        raise UserError(f"covariance: not {len(rows)} rows of {len(rows)} numbers")
    for i, row in enumerate(matrix):  # type: ignore[arg-type]
        for value in row:
            _number(f"covariance[{i}]", value)
    ranges = _mapping("shape_ranges", body.get("shape_ranges"))
    for name in RANGES:
        _range(f"shape_ranges.{name}", ranges.get(name))
    for name, pair in _mapping("option_ranges", body.get("option_ranges")).items():
        _range(f"option_ranges.{name}", pair, low=1e-6)
    _mapping("held_out", body.get("held_out"))


def _mapping(where: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError(f"{where}: {value!r} is not a mapping of fields")
    return value


def _range(where: str, pair: object, low: float = -np.inf) -> None:
    if not isinstance(pair, list) or len(pair) != 2:
        raise UserError(f"{where}: {pair!r} is not [low, high]")
    for value in pair:
        _number(where, value, low=low)


def _number(where: str, value: object, low: float = -np.inf, high: float = np.inf) -> None:
    ok = isinstance(value, int | float) and not isinstance(value, bool)
    if not ok or not math.isfinite(value) or not low <= value <= high:  # type: ignore[arg-type,operator]
        raise UserError(f"{where}: {value!r} is not a number from {low:g} to {high:g}")
