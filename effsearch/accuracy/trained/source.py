"""`TrainedEstimate`: what networks of this space, trained for it, say of an architecture.

One model, two scales: `trained` is top-1 in the very training that those networks had, short and
on small images; `imagenet+trained` is the published ImageNet estimate, corrected by what they say
of design at equal size and family.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.accuracy.estimate import top1_of
from effsearch.accuracy.features import TOTALS, Array, Features
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.accuracy.score import Score
from effsearch.accuracy.score_file import load_score_file
from effsearch.accuracy.trained.encoding import NAMES, Encoder, Points
from effsearch.accuracy.trained.joint import Joint, Scales
from effsearch.accuracy.trained.scaling import Scaler, from_log_odds, log_odds
from searchspace import Architecture, zoo
from searchspace.errors import UserError

SCHEMA = 2
DATA = Path(__file__).parents[1] / "data" / "trained.json"


SCALES = SHORT, JOINED = "trained", "imagenet+trained"


class TrainedEstimate:
    """Top-1 in percent, of the joint model of published and trained networks.

    See `effsearch.accuracy.trained.joint` for the model and
    `python -m results.accuracy.fit_trained` for where its numbers come from.

    Attributes:
        name: `trained` or `imagenet+trained`: the scale of its scores.
        model: the conditioned model.
        card: everything else that the data file says.
    """

    kind = "estimated"

    def __init__(self, card: Mapping[str, Any], name: str = SHORT) -> None:
        """Build from the contents of a data file.

        Args:
            card: those contents.
            name: `trained` or `imagenet+trained`.

        Raises:
            UserError: where a field is missing or of the wrong shape; names it.
        """
        rows = _checked(card)
        self.card = card
        self.name = name
        source = ImagenetEstimate.load()
        self._encoder = Encoder(Features(source.card["option_ranges"]))
        self.model = Joint(
            source.estimate,
            self.points([zoo.load(row["network"]) for row in source.card["networks"]]),
            Points(
                np.array([row["totals"] for row in rows], dtype=float),
                np.array([row["encoding"] for row in rows], dtype=float),
            ),
            log_odds(np.array([row["top1"] for row in rows], dtype=float)),
            Scaler.of(np.array([row["encoding"] for row in rows], dtype=float)),
            Scales(**card["scales"]),
        )
        recipe = card["recipe"]
        training = f"{recipe['epochs']} epochs on {recipe['data']} at {recipe['side_px']} px"
        if name == JOINED:
            self.unit = "ImageNet-1k top-1, %"
            self.note = (
                f"As if trained without distillation; {len(rows)} networks of this space, trained "
                f"for {training}, say what design adds. Candidates are ranked by the lower bound "
                "(80%)."
            )
        else:
            self.unit = f"top-1 after {training}, %"
            self.note = (
                f"Learnt from {len(rows)} networks of this space: which designs learn fast, not "
                "what a long training on ImageNet reaches, and little of what size is worth "
                "there. Candidates are ranked by the lower bound (80%)."
            )

    @classmethod
    def load(cls, name: str = SHORT, path: str | Path = DATA) -> TrainedEstimate:
        """Read the shipped data file, or another, for one of the scales.

        Raises:
            UserError: where it is missing, not JSON, or not of this schema.
        """
        return load_score_file(path, lambda card: cls(card, name))

    @property
    def held_out(self) -> dict[str, Any]:
        """How well it ranks trained networks that it has not seen, for this scale."""
        return dict(self.card["held_out"][self.name])

    def points(self, architectures: Sequence[Architecture]) -> Points:
        """Return what the model sees of networks."""
        return self._encoder.points(architectures)

    def score_points(self, points: Points) -> tuple[Array, Array]:
        """Return scores and standard deviations in percent, (n,) each."""
        if self.name == JOINED:
            return top1_of(*self.model.log_error(points))
        mean, std = self.model.log_odds(points)
        top1 = from_log_odds(mean)
        return top1, std * top1 * (1 - top1 / 100)

    def score(self, architecture: Architecture) -> Score:
        """Return the estimate for one architecture."""
        mean, std = self.score_points(self.points([architecture]))
        return Score(float(mean[0]), float(std[0]))


def _checked(card: object) -> list[Mapping[str, Any]]:
    """Return the trained networks of a data file.

    Raises:
        UserError: where a field is missing or wrong.
    """
    if not isinstance(card, Mapping):
        raise UserError("not a mapping of fields")
    if card.get("schema") != SCHEMA:
        raise UserError(f"schema: {card.get('schema')!r} is not {SCHEMA}; fit the file again")
    for name, known in (("totals", TOTALS), ("encoding", NAMES)):
        if tuple(card.get(name, ())) != known:
            raise UserError(f"{name}: its columns are not this version's; fit the file again")
    scales = card.get("scales")
    wanted = set(Scales.__dataclass_fields__)
    if not isinstance(scales, Mapping) or set(scales) != wanted:
        raise UserError(f"scales: not the numbers {', '.join(sorted(wanted))}")
    if not all(_is_number(value) for value in scales.values()):
        raise UserError("scales: not all are numbers")
    held_out = card.get("held_out")
    if not isinstance(held_out, Mapping) or not set(SCALES) <= set(held_out):
        raise UserError(f"held_out: not the errors of {' and '.join(SCALES)}")
    recipe = card.get("recipe")
    if not isinstance(recipe, Mapping) or not {"epochs", "data", "side_px"} <= set(recipe):
        raise UserError("recipe: epochs, data or side_px is missing")
    rows = card.get("networks")
    if not isinstance(rows, list) or len(rows) < 2:
        raise UserError("networks: missing or fewer than two")
    for number, row in enumerate(rows):
        where = f"networks[{number}]"
        if not isinstance(row, Mapping) or not _is_number(row.get("top1")):
            raise UserError(f"{where}.top1: missing or no number")
        for name, known in (("totals", TOTALS), ("encoding", NAMES)):
            values = row.get(name)
            if not isinstance(values, list) or len(values) != len(known):
                raise UserError(f"{where}.{name}: not a list of {len(known)} numbers")
            if not all(_is_number(value) for value in values):
                raise UserError(f"{where}.{name}: not all are numbers")
    return rows


def _is_number(value: object) -> bool:
    ok = isinstance(value, int | float) and not isinstance(value, bool)
    return ok and bool(np.isfinite(float(value)))  # type: ignore[arg-type]
