"""Candidates of a search: their origin, latency and score."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any

from searchspace import Architecture

# Origins of a candidate.
OWN = "own"  # a network that a person enqueued, a member of the space or not
PUBLISHED = "published"  # a published network, a member of the space or not
SCALED = "scaled"  # a published network, its widths and depths multiplied by hand
NEAREST = "nearest"  # the member of the space that is most like a published network
SAMPLED = "sampled"
EVOLVED = "evolved"
ENUMERATED = "enumerated"
NEIGHBOUR = "neighbour"


def latency_on(device: str) -> str:
    """Return the name of the latency on another device than the first among a network's costs."""
    return f"latency on {device}"


@dataclass(frozen=True)
class LatencyElsewhere:
    """The latency of a candidate on another device than the first.

    Attributes:
        device: name of the table.
        mean_ms: predicted latency.
        std_ms: its standard deviation.
        quantile_ms: latency that is not exceeded with the asked confidence.
    """

    device: str
    mean_ms: float
    std_ms: float
    quantile_ms: float


@dataclass(frozen=True)
class Outcome:
    """What one candidate was priced and scored at.

    Attributes:
        mean_ms: predicted latency.
        std_ms: its standard deviation.
        quantile_ms: latency that is not exceeded with the asked confidence.
        score: of the score source, higher is better.
        score_std: its standard deviation.
        lower_bound: of the score: what candidates are ranked by.
        params: trainable parameters.
        macs: multiply-accumulates for one image.
        error: why it could not be priced or scored; what is not known is NaN then.
        memory_bytes: of activations that are alive at once, at most.
        size_bytes: of weights.
        elsewhere: latencies on other devices.
    """

    mean_ms: float = float("nan")
    std_ms: float = float("nan")
    quantile_ms: float = float("nan")
    score: float = float("nan")
    score_std: float = float("nan")
    lower_bound: float = float("nan")
    params: int = 0
    macs: int = 0
    error: str = ""
    memory_bytes: int = 0
    size_bytes: int = 0
    elsewhere: tuple[LatencyElsewhere, ...] = ()

    @property
    def costs(self) -> dict[str, float]:
        """What can be limited, by name."""
        return {
            "latency": self.quantile_ms,
            **{latency_on(other.device): other.quantile_ms for other in self.elsewhere},
            "params": self.params,
            "macs": self.macs,
            "memory": self.memory_bytes,
            "size": self.size_bytes,
        }

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; numbers that JSON lacks, and what is empty, are left out."""
        return {k: v for k, v in asdict(self).items() if v == v and v not in ("", ())}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        """Return the outcome that plain data holds."""
        found = {f.name: data[f.name] for f in fields(cls) if f.name in data}
        elsewhere = (LatencyElsewhere(**row) for row in found.pop("elsewhere", ()))
        return cls(**found, elsewhere=tuple(elsewhere))


@dataclass(frozen=True)
class Candidate:
    """An architecture and where it came from.

    Attributes:
        architecture: the network.
        origin: `PUBLISHED` or another of this module's constants.
        source: name of the published, scaled or own network that it is, or of the published one
            that it is nearest to; else empty.
        member: whether the space contains it.
    """

    architecture: Architecture
    origin: str
    source: str = ""
    member: bool = True

    @cached_property
    def digest(self) -> str:
        """The architecture's digest."""
        return self.architecture.digest()

    @property
    def reference(self) -> bool:
        """Whether it is a published network, which is what winners are compared with."""
        return self.origin == PUBLISHED

    @property
    def by_hand(self) -> bool:
        """Whether anyone has it without a search: a published network, or one scaled by hand."""
        return self.origin in (PUBLISHED, SCALED)


@dataclass(frozen=True)
class Record:
    """A candidate that was evaluated, as the study keeps it.

    Attributes:
        number: of its trial.
        batch: number of the batch that it was evaluated in.
        candidate: what was evaluated.
        outcome: at what.
        excess: by which fraction it exceeds each limit, named as in `Outcome.costs`; within a limit
            where 0 or less.
    """

    number: int
    batch: int
    candidate: Candidate
    outcome: Outcome
    excess: Mapping[str, float]

    @property
    def failed(self) -> bool:
        """Whether it could not be priced or scored."""
        return bool(self.outcome.error)

    @property
    def priced(self) -> bool:
        """Whether its latency is known."""
        return math.isfinite(self.outcome.mean_ms)

    @property
    def violation(self) -> float:
        """Sum of what it exceeds limits by; 0 where it meets them all."""
        return sum(max(0.0, value) for value in self.excess.values())

    @property
    def feasible(self) -> bool:
        """Whether it was priced and scored, and meets every limit."""
        return not self.failed and self.violation == 0
