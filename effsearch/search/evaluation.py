"""`Evaluator`: prices and scores architectures; one lives in every worker."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from effsearch.accuracy.options import ScoreOptions
from effsearch.accuracy.registry import find, load_source
from effsearch.accuracy.score import ScoreSource
from effsearch.latency.table import DeviceTable, quantile_ms
from effsearch.search.candidates import LatencyElsewhere, Outcome
from searchspace import Architecture, UserError
from searchspace.graph import FORMS
from searchspace.operators import operators, peak_bytes, unit_operators
from searchspace.templates import prepare
from searchspace.units import Unit, units

_FAILURES = (UserError, ArithmeticError, ValueError, RuntimeError)
DIGITS = 10  # numbers keep this many, so that no order of summation shows in a run's result


@dataclass(frozen=True)
class EvaluatorSpec:
    """What a worker needs to make an evaluator.

    Attributes:
        device: name or path of a latency table.
        proxy: name of a score source.
        confidence: of the latency quantile.
        options: what the score source takes; None for its defaults.
        others: further latency tables, each by name or path.
    """

    device: str
    proxy: str
    confidence: float
    options: ScoreOptions | None = None
    others: tuple[str, ...] = ()

    @property
    def slow(self) -> bool:
        """Whether a score takes about a second or more."""
        return find(self.proxy).slow

    def make_worker(self) -> Evaluator | Scorer:
        """Return what a worker evaluates with: where a score is slow, it does nothing else.

        Raises:
            UserError: where there is no such table or score source.
        """
        return Scorer(load_source(self.proxy, self.options)) if self.slow else self.make()

    def make(self) -> Evaluator:
        """Return the evaluator.

        Raises:
            UserError: where there is no such table or score source.
        """
        source = load_source(self.proxy, self.options)
        table, *others = map(DeviceTable.load, (self.device, *self.others))
        return Evaluator(table, source, self.confidence, others)


class Counts(NamedTuple):
    """What is counted of a network.

    Attributes:
        params: trainable parameters of the module.
        macs: multiply-accumulates of the module for one image.
        memory_bytes: of activations of the deployed form that are alive at once, at most.
        size_bytes: of the deployed form's weights.
    """

    params: int
    macs: int
    memory_bytes: int
    size_bytes: int


class Evaluator:
    """Prices and scores architectures.

    Attributes:
        table: the latency table.
        source: the score source.
        confidence: of the latency quantile.
        others: tables of other devices.
    """

    def __init__(
        self,
        table: DeviceTable,
        source: ScoreSource,
        confidence: float,
        others: Sequence[DeviceTable] = (),
    ) -> None:
        self.table = table
        self.source = source
        self.confidence = confidence
        self.others = tuple(others)
        self._counts: dict[Unit, Counts] = {}

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
        priced = self.priced(architecture)
        return priced if priced.error else joined(priced, scored(self.source, architecture))

    def priced(self, architecture: Architecture) -> Outcome:
        """Return an architecture's latency and counts, or why it has none; without its score."""
        try:
            return self.price(architecture)
        except _FAILURES as error:
            return Outcome(error=_reason(error))

    def price(self, architecture: Architecture) -> Outcome:
        """Return an architecture's latency and counts; its score is not known.

        Raises:
            ArithmeticError: where the latency is not a finite number.
        """
        return Outcome(**self._price(architecture))

    def _price(self, architecture: Architecture) -> dict[str, Any]:
        found = self._latency(self.table, architecture)
        elsewhere = (
            LatencyElsewhere(table.name, **self._latency(table, architecture))
            for table in self.others
        )
        return found | self.counts(architecture)._asdict() | {"elsewhere": tuple(elsewhere)}

    def _latency(self, table: DeviceTable, architecture: Architecture) -> dict[str, float]:
        mean, std = table.model.evaluate(table.features(architecture)[None])
        mean_ms, std_ms = float(mean[0]), float(std[0])
        quantile = float(quantile_ms(mean_ms, std_ms, self.confidence))
        return finite("latency", mean_ms=mean_ms, std_ms=std_ms, quantile_ms=quantile)

    def counts(self, architecture: Architecture) -> Counts:
        """Return what is counted, without error; with the classes that it is priced with."""
        placed = units(architecture)
        rows = [self._unit_counts(part.unit) for part in placed]
        params, macs, memory, size = zip(*rows, strict=True)
        # Units run one after the other, and only what the next one reads outlives one, unless
        # a head uses several maps.
        peak = max(memory)
        if any(part.sources for part in placed):
            peak = peak_bytes(operators(architecture, "deploy"))
        return Counts(sum(params), sum(macs), peak, sum(size))

    def _unit_counts(self, unit: Unit) -> Counts:
        if unit not in self._counts:
            parts, deployed = unit_operators(unit, "train"), unit_operators(unit, "deploy")
            self._counts[unit] = Counts(
                sum(o.params for o in parts),
                sum(o.macs for o in parts),
                peak_bytes(deployed),
                sum(o.weight_bytes for o in deployed),
            )
        return self._counts[unit]


class Scorer:
    """Scores architectures; what they cost is not known here."""

    def __init__(self, source: ScoreSource) -> None:
        self._source = source

    def __call__(self, architectures: Sequence[Architecture]) -> list[Outcome]:
        """Return an outcome without latency and counts for each architecture."""
        return [scored(self._source, architecture) for architecture in architectures]


def scored(source: ScoreSource, architecture: Architecture) -> Outcome:
    """Return an architecture's score, or why it has none; without latency and counts."""
    try:
        score = source.score(architecture)
        return Outcome(
            **finite("score", score=score.score, score_std=score.std, lower_bound=score.lower_bound)
        )
    except _FAILURES as error:
        return Outcome(error=_reason(error))


def joined(priced: Outcome, scored: Outcome) -> Outcome:
    """Return the latency and counts of one outcome with the score, or its lack, of another."""
    return replace(
        priced,
        score=scored.score,
        score_std=scored.score_std,
        lower_bound=scored.lower_bound,
        error=scored.error,
    )


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def finite(what: str, **values: float) -> dict[str, Any]:
    """Return numbers as runs keep them.

    Raises:
        ArithmeticError: where one is not finite; says what it is.
    """
    if not all(math.isfinite(value) for value in values.values()):
        raise ArithmeticError(f"its {what} is not a finite number")
    return {name: float(f"{value:.{DIGITS}g}") for name, value in values.items()}
