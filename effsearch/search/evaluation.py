"""`Evaluator`: prices and scores architectures; one lives in every worker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from effsearch.accuracy.options import ScoreOptions
from effsearch.accuracy.registry import find, load_source
from effsearch.accuracy.score import ScoreSource
from effsearch.latency.table import DeviceTable, quantile_ms
from effsearch.search.candidates import Outcome
from searchspace import Architecture, UserError
from searchspace.operators import FORMS, unit_operators
from searchspace.templates import prepare
from searchspace.units import Unit, units

DIGITS = 10  # numbers keep this many, so that no order of summation shows in a run's result


@dataclass(frozen=True)
class EvaluatorSpec:
    """What a worker needs to make an evaluator.

    Attributes:
        device: name or path of a latency table.
        proxy: name of a score source.
        confidence: of the latency quantile.
        options: what the score source takes; None for its defaults.
    """

    device: str
    proxy: str
    confidence: float
    options: ScoreOptions | None = None

    @property
    def slow(self) -> bool:
        """Whether a score takes about a second or more."""
        return find(self.proxy).slow

    def make(self) -> Evaluator:
        """Return the evaluator.

        Raises:
            UserError: where there is no such table or score source.
        """
        source = load_source(self.proxy, self.options)
        return Evaluator(DeviceTable.load(self.device), source, self.confidence)


class Evaluator:
    """Prices and scores architectures.

    Attributes:
        table: the latency table.
        source: the score source.
        confidence: of the latency quantile.
    """

    def __init__(self, table: DeviceTable, source: ScoreSource, confidence: float) -> None:
        self.table = table
        self.source = source
        self.confidence = confidence
        self._counts: dict[Unit, tuple[int, int]] = {}

    def __call__(self, architectures: Sequence[Architecture]) -> list[Outcome]:
        """Return an outcome for each architecture; none depends on the others."""
        self.prepare(architectures)
        return [self.evaluate(architecture) for architecture in architectures]

    def prepare(self, architectures: Iterable[Architecture]) -> None:
        """Find at once what the architectures to be evaluated are made of, which is faster."""
        placed = [p.unit for architecture in architectures for p in units(architecture)]
        for form in FORMS:
            prepare(placed, form)

    def evaluate(self, architecture: Architecture) -> Outcome:
        """Return an architecture's latency, counts and score, or why it has none."""
        found: dict[str, Any] = {}
        try:
            found = self._price(architecture)
            score = self.source.score(architecture)
            found |= finite(
                "score", score=score.score, score_std=score.std, lower_bound=score.lower_bound
            )
            return Outcome(**found)
        except (UserError, ArithmeticError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            return Outcome(**found, error=reason[0][:200])

    def price(self, architecture: Architecture) -> Outcome:
        """Return an architecture's latency and counts; its score is not known.

        Raises:
            ArithmeticError: where the latency is not a finite number.
        """
        return Outcome(**self._price(architecture))

    def _price(self, architecture: Architecture) -> dict[str, Any]:
        mean, std = self.table.model.evaluate(self.table.features(architecture)[None])
        mean_ms, std_ms = float(mean[0]), float(std[0])
        quantile = float(quantile_ms(mean_ms, std_ms, self.confidence))
        params, macs = self.counts(architecture)
        found = finite("latency", mean_ms=mean_ms, std_ms=std_ms, quantile_ms=quantile)
        return found | {"params": params, "macs": macs}

    def counts(self, architecture: Architecture) -> tuple[int, int]:
        """Return parameters and multiply-accumulates of the module, with 1000 classes."""
        params = macs = 0
        for placed in units(architecture):
            entry = self._counts.get(placed.unit)
            if entry is None:
                parts = unit_operators(placed.unit, "train")
                entry = (sum(o.params for o in parts), sum(o.macs for o in parts))
                self._counts[placed.unit] = entry
            params += entry[0]
            macs += entry[1]
        return params, macs


def finite(what: str, **values: float) -> dict[str, Any]:
    """Return numbers as runs keep them.

    Raises:
        ArithmeticError: where one is not finite; says what it is.
    """
    if not all(math.isfinite(value) for value in values.values()):
        raise ArithmeticError(f"its {what} is not a finite number")
    return {name: float(f"{value:.{DIGITS}g}") for name, value in values.items()}
