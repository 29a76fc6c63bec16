"""`Assessor`: what encoded populations cost and score, and whether they meet the limits."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from effsearch.accuracy.score import Score, TotalsScore, Z
from effsearch.latency.table import DeviceTable, quantile_ms
from effsearch.search.candidates import LatencyElsewhere, Outcome, latency_on
from effsearch.search.evaluation import finite
from effsearch.search.limits import Limits
from searchspace import SearchSpace
from searchspace.population import PopulationParts, PopulationPeaks, PopulationTotals
from searchspace.schema import SEGMENTATION
from searchspace.templates import unit_counts, unit_peak_bytes, unit_weight_bytes
from searchspace.units import Unit
from searchspace.variation import Codes

Array = NDArray[np.float64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Population:
    """Networks that were assessed; every array has a row for each.

    Attributes:
        codes: of the networks, (n, axes).
        hashes: by which networks are told apart, (n,).
        quantile_ms: latency that is not exceeded with the confidence asked for, (n,).
        violation: sum of the fractions by which limits are exceeded, 0 where they are met, (n,).
        lower_bound: of the score, (n,); minus infinity where the limits are not met.
    """

    codes: Codes
    hashes: Hashes
    quantile_ms: Array
    violation: Array
    lower_bound: Array

    @classmethod
    def nobody(cls, axes: int) -> Population:
        """Return no networks, of codes with so many axes."""
        nothing = np.zeros(0)
        return cls(np.zeros((0, axes), np.int16), np.zeros(0, np.uint64), *(nothing,) * 3)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def feasible(self) -> NDArray[np.bool_]:
        """Whether each meets the limits and has a score."""
        return np.isfinite(self.lower_bound)

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> Population:
        """Return some of them."""
        return Population(
            self.codes[rows],
            self.hashes[rows],
            self.quantile_ms[rows],
            self.violation[rows],
            self.lower_bound[rows],
        )


def joined(populations: Sequence[Population]) -> Population:
    """Return the networks of several populations, each once, in the order of their hashes."""
    hashes = np.concatenate([p.hashes for p in populations])
    _, rows = np.unique(hashes, return_index=True)
    return Population(
        np.concatenate([p.codes for p in populations])[rows],
        hashes[rows],
        np.concatenate([p.quantile_ms for p in populations])[rows],
        np.concatenate([p.violation for p in populations])[rows],
        np.concatenate([p.lower_bound for p in populations])[rows],
    )


class Assessor:
    """Prices and scores encoded networks of one space.

    Only networks that meet the limits are scored.
    """

    def __init__(
        self,
        space: SearchSpace,
        table: DeviceTable,
        source: TotalsScore,
        limits: Limits,
        confidence: float,
        hashes: Callable[[Codes], Hashes],
        others: Sequence[DeviceTable] = (),
    ) -> None:
        self._table, self._source, self._limits = table, source, limits
        self._confidence, self._hashes = confidence, hashes
        self._parts = PopulationParts(space)
        self._totals = PopulationTotals(self._parts, self._units_rows)
        self._priced = 0  # columns of the totals that latency is a function of
        self._backbones = _Backbones.of(space, source)
        self._others = [
            (table, PopulationTotals(self._parts, table.units_features)) for table in others
        ]
        self._counts = PopulationTotals(self._parts, unit_counts)
        self._sizes = PopulationTotals(self._parts, unit_weight_bytes)
        self._peaks = PopulationPeaks(self._parts, unit_peak_bytes)
        # Of maps that are kept for a head the greatest need of a unit says nothing.
        self._keeps_maps = space.spec.task == SEGMENTATION

    def __call__(self, codes: Codes) -> Population:
        """Return what is known of some networks, which may occur more than once."""
        if not len(codes):
            return Population.nobody(codes.shape[1])
        parts = self._parts(codes)
        totals = self._totals(parts)
        *_, quantile = self._latency(self._table, totals[:, : self._priced])
        violation = self._violation(parts, quantile)
        lower = np.full(len(codes), -np.inf)
        fits = np.flatnonzero(violation == 0)
        if len(fits):
            score, deviation = self._scores(codes[fits], totals[fits])
            bound = score - Z * deviation
            lower[fits] = np.where(np.isfinite(bound), bound, -np.inf)
        return Population(codes, self._hashes(codes), quantile, violation, lower)

    def estimates(self, codes: Codes) -> Array:
        """Return of some networks how far they exceed the limits, latency in ms and score, (n, 3).

        Latency is the quantile at the confidence; what has none exceeds the limits infinitely.
        """
        parts = self._parts(codes)
        totals = self._totals(parts)
        *_, quantile = self._latency(self._table, totals[:, : self._priced])
        violation = np.nan_to_num(self._violation(parts, quantile), nan=np.inf)
        score, _ = self._scores(codes, totals)
        return np.column_stack([violation, quantile, score])

    def _violation(self, parts: csr_array, quantile: Array) -> Array:
        """Return the sum of the fractions by which limits are exceeded, (n,)."""
        violation = np.zeros(len(quantile))
        costs = self._costs(parts, quantile, self._limits.most)
        for excess in self._limits.excess_of(costs).values():
            violation += np.maximum(excess, 0)
        return violation

    def outcomes(self, codes: Codes) -> list[Outcome]:
        """Return all numbers of some networks, scored whether they meet the limits or not.

        Memory is 0, unknown, where a head uses several maps.
        """
        if not len(codes):
            return []
        parts = self._parts(codes)
        totals = self._totals(parts)
        latency = self._latency(self._table, totals[:, : self._priced])
        peaks = np.zeros((len(codes), 1)) if self._keeps_maps else self._peaks(parts)
        counts = self._counts(parts), peaks, self._sizes(parts)
        scores = self._scores(codes, totals)
        columns = *latency, *np.rint(np.hstack(counts)).T, *scores
        elsewhere = [
            (table.name, np.column_stack(self._latency(table, features(parts))).tolist())
            for table, features in self._others
        ]
        return [
            _outcome(*row, elsewhere={name: rows[i] for name, rows in elsewhere})
            for i, row in enumerate(np.column_stack(columns).tolist())
        ]

    def _scores(self, codes: Codes, totals: Array) -> tuple[Array, Array]:
        """Return scores and standard deviations (n,) of networks with these totals."""
        features = totals[:, self._priced :]
        if self._backbones is not None:
            features = np.hstack([features, self._backbones(codes)])
        return self._source.score_features(features)

    def _latency(self, table: DeviceTable, features: Array) -> tuple[Array, Array, Array]:
        """Return latency means, standard deviations and quantiles in ms, (n,) each."""
        mean, std = table.model.evaluate(features)
        return mean, std, np.asarray(quantile_ms(mean, std, self._confidence))

    def _costs(self, parts: csr_array, quantile: Array, wanted: Container[str]) -> dict[str, Array]:
        """Return costs by name, (n,) each: those that are wanted, and what comes with them."""
        costs = {"latency": quantile}
        for table, features in self._others:
            if latency_on(table.name) in wanted:
                costs[latency_on(table.name)] = self._latency(table, features(parts))[2]
        if "params" in wanted or "macs" in wanted:
            costs["params"], costs["macs"] = self._counts(parts).T
        if "memory" in wanted:
            costs["memory"] = self._peaks(parts)[:, 0]
        if "size" in wanted:
            costs["size"] = self._sizes(parts)[:, 0]
        return costs

    def _units_rows(self, units: Sequence[Unit]) -> Array:
        latency = self._table.units_features(units)
        self._priced = latency.shape[1]
        return np.hstack([latency, self._source.units_features(units)])


class _Backbones:
    """Totals of encoded networks' backbones, which are members of a space of their own."""

    def __init__(self, space: SearchSpace, backbones: SearchSpace, source: TotalsScore) -> None:
        columns = {name: i for i, name in enumerate(space.axes)}
        self._columns = [columns[name] for name in backbones.axes]
        self._parts = PopulationParts(backbones)
        self._totals = PopulationTotals(self._parts, source.backbone_features)

    @classmethod
    def of(cls, space: SearchSpace, source: TotalsScore) -> _Backbones | None:
        """Return what finds them; None where a score does not take them."""
        backbones = source.backbones(space)
        return None if backbones is None else cls(space, backbones, source)

    def __call__(self, codes: Codes) -> Array:
        return self._totals(self._parts(codes[:, self._columns]))


def _outcome(
    mean: float,
    std: float,
    quantile: float,
    params: float,
    macs: float,
    memory: float,
    size: float,
    score: float,
    deviation: float,
    *,
    elsewhere: Mapping[str, Sequence[float]],
) -> Outcome:
    known: dict[str, Any] = {"params": int(params), "macs": int(macs)}
    known |= {"memory_bytes": int(memory), "size_bytes": int(size)}
    try:
        known["elsewhere"] = tuple(
            LatencyElsewhere(name, **finite("latency", mean_ms=m, std_ms=s, quantile_ms=q))
            for name, (m, s, q) in elsewhere.items()
        )
        latency = finite("latency", mean_ms=mean, std_ms=std, quantile_ms=quantile)
        found = Score(score, deviation)
        scores = finite("score", score=score, score_std=deviation, lower_bound=found.lower_bound)
        return Outcome(**latency, **known, **scores)
    except ArithmeticError as error:
        return Outcome(**known, error=str(error))
