"""`DeviceTable`: latency on one device, predicted with its uncertainty and where it goes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effsearch.latency.catalogue import table_name
from effsearch.latency.cost_model import Array, CostModel, ManyAtOnce, PreparedPrices
from effsearch.latency.models.registry import load_model
from effsearch.latency.scope import scope_note
from searchspace import Architecture, Operator, SearchSpace
from searchspace.drawing import table_html
from searchspace.graph import CONTROL_FLOW
from searchspace.operators import unit_operators
from searchspace.population import PopulationParts, PopulationTotals
from searchspace.templates import Alike, prepare, rows_of_alike
from searchspace.units import Unit, units

Z80 = NormalDist().inv_cdf(0.9)  # half-width of an 80 % interval in standard deviations
_KIND_ORDER = ("measured", "fitted", "transferred", "estimated")


@dataclass(frozen=True)
class Part:
    """Where some of a network's latency goes.

    Attributes:
        name: unit, e.g. `stages.1.blocks.0`, or `overhead`.
        stage: index of its stage; -1 for the stem and the overhead.
        type: component type.
        mean_ms: what it adds to the mean.
        kind: kind of that number.
    """

    name: str
    stage: int
    type: str
    mean_ms: float
    kind: str


@dataclass(frozen=True, repr=False)
class Prediction:
    """Latency of one network for one image.

    The distribution is log-normal: errors of latency models are relative.

    Attributes:
        device: the table's name.
        kind: the least certain kind among the parts that matter.
        mean_ms: expected latency.
        std_ms: standard deviation of the prediction.
        breakdown: the parts; their means sum to `mean_ms`.
        estimated_operators: ONNX operator types that the table does not know.
    """

    device: str
    kind: str
    mean_ms: float
    std_ms: float
    breakdown: tuple[Part, ...]
    estimated_operators: frozenset[str] = frozenset()

    def quantile(self, probability: float) -> float:
        """Return the latency in ms that is not exceeded with this probability."""
        return float(quantile_ms(self.mean_ms, self.std_ms, probability))

    def within(self, budget_ms: float) -> float:
        """Return the probability that the network meets a budget."""
        if budget_ms <= 0:
            return 0.0
        mu, sigma = _log_moments(self.mean_ms, self.std_ms)
        if sigma == 0:
            return float(self.mean_ms <= budget_ms)
        return NormalDist().cdf((math.log(budget_ms) - float(mu)) / float(sigma))

    def stages(self) -> list[tuple[str, float, str]]:
        """Return (name, ms, least certain kind) of overhead, stem, each stage and the head."""
        groups: dict[str, list[Part]] = {}
        for part in self.breakdown:
            fields = part.name.split(".")
            groups.setdefault(
                f"stage {part.stage + 1}" if fields[0] == "stages" else fields[0], []
            ).append(part)
        return [
            (name, sum(p.mean_ms for p in parts), max((p.kind for p in parts), key=_kind_rank))
            for name, parts in groups.items()
        ]

    @property
    def interval_ms(self) -> tuple[float, float]:
        """The 80 % interval."""
        return self.quantile(0.1), self.quantile(0.9)

    def __repr__(self) -> str:
        """Return the prediction in one line."""
        low, high = self.interval_ms
        return (
            f"Prediction({self.device}: {self.mean_ms:.3f} ms, {self.kind}, 80 % interval "
            f"{low:.3f} to {high:.3f} ms)"
        )

    def _repr_html_(self) -> str:
        """Return the prediction and where the time goes, for notebooks."""
        rows = [
            (name, f"{ms:.3f}", kind, "█" * round(40 * ms / self.mean_ms))
            for name, ms, kind in self.stages()
        ]
        return f"<p>{self!r}</p>{table_html(('part', 'ms', 'kind', ''), rows)}"


def _kind_rank(kind: str) -> int:
    return _KIND_ORDER.index(kind)


def _log_moments(mean_ms: Any, std_ms: Any) -> tuple[Any, Any]:
    variance = np.log1p((std_ms / mean_ms) ** 2)
    return np.log(mean_ms) - variance / 2, np.sqrt(variance)


def quantile_ms(mean_ms: Any, std_ms: Any, probability: float) -> Any:
    """Return log-normal quantiles in ms of means and standard deviations, elementwise."""
    mu, sigma = _log_moments(mean_ms, std_ms)
    return np.exp(mu + sigma * NormalDist().inv_cdf(probability))


class DeviceTable:
    """Latency on one device.

    Attributes:
        name: the device's name.
        model: the cost model behind it.
    """

    def __init__(self, name: str, model: CostModel) -> None:
        self.name = name
        self.model = model
        self._cache: dict[Unit, tuple[Array, str]] = {}
        self._populations: dict[int, tuple[SearchSpace, PopulationParts, PopulationTotals]] = {}

    @classmethod
    def load(cls, name: str | Path) -> DeviceTable:
        """Return a shipped or installed table by name, or one from a file.

        Raises:
            UserError: where there is none; names those known and the nearest.
        """
        return cls(table_name(name), load_model(name))

    @property
    def kind(self) -> str:
        """`measured`, `fitted` or `estimated`."""
        return self.model.kind

    @property
    def meta(self) -> dict[str, Any]:
        """What the table says of itself."""
        return self.model.meta

    def scope_note(self, architecture: Architecture) -> str:
        """Return what to keep in mind of a network's latency; empty where nothing."""
        return scope_note(self.name, self.meta, architecture.resolution)

    def unit_features(self, unit: Unit) -> tuple[Array, str]:
        """Return a unit's features and the kind of its price; computed once."""
        entry = self._cache.get(unit)
        if entry is None:
            kind = self.model.mark(unit_operators(unit, "deploy"))
            if self._is_transferred(unit) and kind == "fitted":
                kind = "transferred"
            self._cache[unit] = entry = (self._features_of(unit), kind)
        return entry

    def _features_of(self, unit: Unit) -> Array:
        features = self.model.features(unit_operators(unit, "deploy"))
        row: Array = self._marked(features[None], unit)[0]
        return row

    def _marked(self, features: Array, unit: Unit) -> Array:
        """Return features (n, d) of units of a type, less sure where it is not measured here."""
        if self._is_transferred(unit):
            return self.model.as_transferred(features, unit.type)
        return features

    def _is_transferred(self, unit: Unit) -> bool:
        return unit.role == "block" and unit.type not in self.model.measured_blocks

    def units_features(self, units: Sequence[Unit]) -> Array:
        """Return the features (n, d) of many units."""
        if isinstance(self.model, ManyAtOnce):
            many = self.model.features_of_many

            def rows(group: Alike) -> Array:
                features = many(group.operators, len(group.rows))
                return self._marked(features, units[group.rows[0]])

            return rows_of_alike(units, rows)
        prepare(units)
        if isinstance(self.model, PreparedPrices):
            self.model.prepare([o for unit in units for o in unit_operators(unit)])
        return np.stack([self._features_of(unit) for unit in units])

    def features(self, architecture: Architecture) -> Array:
        """Return a network's features (d,)."""
        total = None
        for placed in units(architecture):
            part = self.unit_features(placed.unit)[0]
            total = part.copy() if total is None else total + part
        assert total is not None
        return total

    def predict(self, architecture: Architecture) -> Prediction:
        """Return the latency of an architecture's deployed form.

        It is estimated where the table's networks had smaller images (`scope_note`).
        """
        placed = units(architecture)
        rows = [self.unit_features(p.unit) for p in placed]
        found = self._prediction(
            np.stack([row[0] for row in rows]),
            [(p.name, p.stage, p.unit.type) for p in placed],
            [row[1] for row in rows],
        )
        return replace(found, kind="estimated") if self.scope_note(architecture) else found

    def predict_many(self, space: SearchSpace, codes: NDArray[np.int16]) -> tuple[Array, Array]:
        """Return latency means and standard deviations in ms of a population.

        Args:
            space: the space.
            codes: (n, axes), from `space.encode`.

        Returns:
            Two arrays of shape (n,), equal to what `predict` gives one by one.
        """
        # The entry holds the space, so that no other has its id.
        if id(space) not in self._populations:
            parts = PopulationParts(space)
            totals = PopulationTotals(parts, self.units_features)
            self._populations[id(space)] = space, parts, totals
        _, parts, totals = self._populations[id(space)]
        return self.model.evaluate(totals(parts(codes)))

    def predict_operators(self, operators: Sequence[Operator]) -> Prediction:
        """Return the latency of any network given as its deployed operators.

        Operators are grouped by the unit that begins their names, where they have one.
        """
        groups: dict[str, list[Operator]] = {}
        for operator in operators:
            groups.setdefault(_unit_of(operator.name), []).append(operator)
        prediction = self._prediction(
            np.stack([self.model.features(g) for g in groups.values()]),
            [(name, _stage_of(name), "") for name in groups],
            [self.model.mark(g) for g in groups.values()],
        )
        unknown = frozenset(o.op for o in operators if self.model.mark([o]) == "estimated")
        kind = "estimated" if unknown & CONTROL_FLOW else prediction.kind
        return replace(prediction, kind=kind, estimated_operators=unknown)

    def _prediction(
        self, features: Array, labels: Sequence[tuple[str, int, str]], kinds: Sequence[str]
    ) -> Prediction:
        mean, std = self.model.evaluate(features.sum(0, keepdims=True))
        mean_ms, std_ms = float(mean[0]), float(std[0])
        shares = self.model.attribute(features)
        parts = [
            Part(name, stage, type_, float(ms), kind)
            for (name, stage, type_), ms, kind in zip(labels, shares, kinds, strict=True)
        ]
        parts.insert(0, Part("overhead", -1, "", mean_ms - float(shares.sum()), self.kind))
        significant = [p.kind for p in parts if p.mean_ms > 0.01 * mean_ms]
        kind = max(significant or [self.kind], key=_kind_rank)
        return Prediction(self.name, kind, mean_ms, std_ms, tuple(parts))


def _unit_of(name: str) -> str:
    return name.rsplit("/", 1)[0] if "/" in name else "network"


def _stage_of(name: str) -> int:
    fields = name.split(".")
    placed = fields[0] == "stages" and len(fields) > 1 and fields[1].isdigit()
    return int(fields[1]) if placed else -1
