"""Rows and operators of a group of phones, as the model's measurements."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from effsearch.latency.models.accelerator_features import FEATURES, Hardware, features
from effsearch.latency.models.fitted import PRICED
from results.latency.phones.model import Array, Measurements, Prior
from results.latency.phones.published import Dropped, Row, read_operators, read_rows, rules
from searchspace.operators import Operator

NO_SPILLING = 1e6  # MB
TIES = {
    "products": (("matmul.count", "dispatch.count"),),
    "gelu": (("gelu.mb", "fused.mb"),),
    "linear_attention": (
        ("linear_attention.gmacs", "matmul.gmacs"),
        ("linear_attention.mb", "matmul.mb"),
    ),
}
_OFF_ACCELERATOR = ("linear_attention.gmacs", "linear_attention.mb")


@dataclass(frozen=True, slots=True)
class Form:
    """What is chosen by cross-validation inside the training networks.

    Attributes:
        on_chip_mb: activations of an operator beyond this are spilled.
        reuse: bandwidth of the weights over the memory's; above 1 where the system cache keeps
            some of them between runs.
        std: spread of the prices' logarithms around their centres.
        max_resolution: networks at a larger input are left out of the fit.
        tied: which special totals share their price with the ordinary ones, of `TIES`.
    """

    on_chip_mb: float = 1.0
    reuse: float = 1.5
    std: float = 0.4
    max_resolution: int = 288
    tied: str = ""

    def prior(self, group: str) -> Prior:
        """Return the prior over a group's prices."""
        prices = rules()["groups"][group]["prices"]
        spread = [1.0 if name in _OFF_ACCELERATOR else self.std for name in PRICED]
        return Prior(
            price=np.array([prices[name] for name in PRICED]),
            std=np.array(spread),
            fixed=np.array([name.endswith(".count") for name in PRICED]),
        )

    def tying(self) -> Array:
        """Return the matrix (J, J) that takes totals to those with a price of their own."""
        matrix = np.eye(len(PRICED))
        for word in self.tied.split():
            for name, ordinary in TIES[word]:
                row = PRICED.index(name)
                matrix[row] = 0.0
                matrix[row, PRICED.index(ordinary)] = 1.0
        return matrix


# The plainest form comes first of every axis.
AXES: dict[str, tuple[float | str, ...]] = {
    "on_chip_mb": (NO_SPILLING, 0.5, 1.0, 2.0),
    "reuse": (1.0, 1.5, 2.0),
    "std": (0.7, 0.4),
    "max_resolution": (1024, 288),
    "tied": (
        "products gelu linear_attention",
        "products gelu",
        "products linear_attention",
        "gelu linear_attention",
        "products",
        "gelu",
        "linear_attention",
        "",
    ),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """What a network takes on a phone: the median of the rows kept."""

    graph: str
    network: str
    family: str
    device: str
    resolution: int
    latency_ms: float


@dataclass
class Dataset:
    """A group of phones with the latencies kept for them.

    Attributes:
        group: of `phones.yaml`.
        rows: kept.
        dropped: set aside, with reasons.
        operators: of each graph.
    """

    group: str
    rows: list[Row]
    dropped: list[Dropped]
    operators: dict[str, tuple[Operator, ...]]
    _totals: dict[float, dict[str, Array]] = field(default_factory=dict)

    @classmethod
    def read(cls, data: str | Path, group: str) -> Dataset:
        """Read and clean the data folder's phones."""
        rows, dropped = read_rows(data, group)
        return cls(group, rows, dropped, read_operators(data, [r.graph for r in rows]))

    @cached_property
    def devices(self) -> tuple[str, ...]:
        """Phones of the group, the reference first."""
        return tuple(rules()["groups"][self.group]["phones"])

    @cached_property
    def references(self) -> list[Reference]:
        """One latency for each network on each phone."""
        values: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in self.rows:
            values[row.graph, row.device].append(row)
        return [
            Reference(
                graph,
                rows[0].network,
                rows[0].family,
                device,
                rows[0].resolution,
                statistics.median(r.latency_ms for r in rows),
            )
            for (graph, device), rows in sorted(values.items())
        ]

    def in_scope(self, reference: Reference) -> bool:
        """Whether a reference is one that forms are chosen on."""
        scope = rules()["groups"][self.group]["scope"]
        return (
            reference.device in scope["phones"] and reference.resolution <= scope["max_resolution"]
        )

    def hardware(self, device: str, form: Form) -> Hardware:
        """Return the rates that set the floors of a device's operators."""
        group = rules()["groups"][self.group]
        phone = group["phones"][device]
        return Hardware(
            peak_gmacs_per_ms=phone["peak_gmacs_per_ms"],
            weight_mb_per_ms=phone["dram_mb_per_ms"] * form.reuse,
            on_chip_mb=form.on_chip_mb,
            source=" ".join(group["hardware_source"].split()),
        )

    def totals(self, graphs: Sequence[str], form: Form) -> Array:
        """Return the priced totals of graphs, shape (n, len(PRICED))."""
        cache = self._totals.setdefault(form.on_chip_mb, {})
        hardware = self.hardware(self.devices[0], form)
        for graph in graphs:
            if graph not in cache:
                cache[graph] = features(self.operators[graph], hardware)
        totals = np.array([cache[graph] for graph in graphs]).reshape(len(graphs), len(FEATURES))
        totals[:, 0] = 1.0  # the run's fixed cost, where the floor was
        return totals

    def floor_ms(self, graphs: Sequence[str], devices: Sequence[str], form: Form) -> Array:
        """Return the floor of each graph on its device, shape (n,)."""
        return np.array(
            [
                self._floor(graph, self.hardware(device, form))
                for graph, device in zip(graphs, devices, strict=True)
            ]
        )

    def _floor(self, graph: str, hardware: Hardware) -> float:
        key = -hardware.weight_mb_per_ms - 1e3 * hardware.peak_gmacs_per_ms
        cache = self._totals.setdefault(key, {})
        if graph not in cache:
            cache[graph] = features(self.operators[graph], hardware)[:1]
        return float(cache[graph][0])

    def measurements(self, rows: Sequence[Row], form: Form) -> Measurements:
        """Return rows as the model takes them."""
        index = {name: i for i, name in enumerate(self.devices)}
        papers = {name: i for i, name in enumerate(sorted({r.paper for r in rows}))}
        networks = {name: i for i, name in enumerate(sorted({r.network for r in rows}))}
        graphs = [r.graph for r in rows]
        return Measurements(
            totals=self.totals(graphs, form),
            floor_ms=self.floor_ms(graphs, [r.device for r in rows], form),
            latency_ms=np.array([r.latency_ms for r in rows]),
            rounding_ms=np.array([r.rounding_ms for r in rows]),
            device=np.array([index[r.device] for r in rows]),
            paper=np.array([papers[r.paper] for r in rows]),
            network=np.array([networks[r.network] for r in rows]),
        )
