"""`ProfiledNetwork`: what a profile keeps of one network."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from searchspace import Architecture


@dataclass(frozen=True)
class ProfiledNetwork:
    """One network's raw measurement.

    Attributes:
        index: its place in the sequence.
        architecture: the network.
        ms: median latency without the profiler.
        relative_error: standard error of that median, over the median.
        reference_ms: the reference network's latency in its batch.
        operator_ms: under the profiler, credited to each operator of `operators(.., "deploy")`.
        operator_kernels: number of kernels credited to each.
        product_ms: the reference product's latency in its batch.
    """

    index: int
    architecture: Architecture
    ms: float
    relative_error: float
    reference_ms: float
    operator_ms: tuple[float, ...]
    operator_kernels: tuple[int, ...]
    product_ms: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self) | {"architecture": self.architecture.to_dict()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ProfiledNetwork:
        """Return the network that plain data describes.

        Earlier versions named the error `spread`.
        """
        return cls(
            int(data["index"]),
            Architecture.from_dict(data["architecture"]),
            float(data["ms"]),
            float(data["relative_error"] if "relative_error" in data else data["spread"]),
            float(data["reference_ms"]),
            tuple(data["operator_ms"]),
            tuple(data["operator_kernels"]),
            float(data["product_ms"]),
        )
