"""`Limits`: what a candidate may cost."""

from __future__ import annotations

from dataclasses import dataclass

from effsearch.search.candidates import Outcome


@dataclass(frozen=True)
class Limits:
    """The limits of a search; None for those that were not set.

    Attributes:
        budget_ms: latency, held against the quantile at the confidence asked for.
        max_params_m: parameters, in millions.
        max_macs_m: multiply-accumulates, in millions.
    """

    budget_ms: float
    max_params_m: float | None = None
    max_macs_m: float | None = None

    @property
    def counted(self) -> bool:
        """Whether a candidate's parameters or multiply-accumulates matter."""
        return self.max_params_m is not None or self.max_macs_m is not None

    def excess(self, outcome: Outcome) -> dict[str, float]:
        """Return by which fraction an outcome exceeds each limit that was set."""
        found = {"latency": outcome.quantile_ms / self.budget_ms - 1}
        if self.max_params_m is not None:
            found["params"] = outcome.params / (self.max_params_m * 1e6) - 1
        if self.max_macs_m is not None:
            found["macs"] = outcome.macs / (self.max_macs_m * 1e6) - 1
        return found
