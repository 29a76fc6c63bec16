"""`SearchRequest`: what a person asked for, validated, and kept in the run folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from effsearch.accuracy.options import SUPERNET, SupernetOptions
from effsearch.files import atomic_write_text
from effsearch.search.limits import Limits
from searchspace import UserError

FILE = "request.json"
FORMAT = 1
DEFAULT_TRIALS = 6000
# A source that runs networks takes a second or so for each.
DEFAULT_TRIALS_SLOW = 300
SLOW_SOURCES = ("zero-cost", SUPERNET)


@dataclass(frozen=True)
class SearchRequest:
    """One search; the same request gives the same result.

    Attributes:
        device: name of a latency table, or a path to one.
        budget_ms: latency that must not be exceeded ...
        confidence: ... with this probability.
        space: name of a space, or a path to one.
        proxy: name of the score source.
        trials: candidates to evaluate in all.
        seed: of every random choice.
        winners: how many to hand back.
        max_params_m: limit on parameters in millions, or None.
        max_macs_m: limit on multiply-accumulates in millions, or None.
        supernet: what the score source `supernet` needs; None for the others.

    Raises:
        UserError: on construction, where a value is out of range; names its option.
    """

    device: str
    budget_ms: float
    confidence: float = 0.8
    space: str = "mobile"
    proxy: str = "imagenet"
    trials: int = DEFAULT_TRIALS
    seed: int = 0
    winners: int = 5
    max_params_m: float | None = None
    max_macs_m: float | None = None
    supernet: SupernetOptions | None = None

    def __post_init__(self) -> None:
        _positive("--budget-ms", self.budget_ms, "a positive number of milliseconds")
        if not 0 < self.confidence < 1:
            raise UserError(f"--confidence: {self.confidence} is not between 0 and 1 (try 0.8)")
        if self.max_params_m is not None:
            _positive("--max-params", self.max_params_m, "a positive number of millions")
        if self.max_macs_m is not None:
            _positive("--max-macs", self.max_macs_m, "a positive number of millions")
        for option, value, least in (
            ("--trials", self.trials, 1),
            ("--seed", self.seed, 0),
            ("--winners", self.winners, 1),
        ):
            if value < least:
                raise UserError(f"{option}: {value} is not an integer of {least} or more")

    @property
    def limits(self) -> Limits:
        """What every candidate is held against."""
        return Limits(self.budget_ms, self.max_params_m, self.max_macs_m)

    def write(self, folder: Path, fingerprints: Mapping[str, str]) -> None:
        """Write it to a run folder.

        Args:
            folder: the run folder.
            fingerprints: of what the request only names (table, score source), so that a resumed
                run notices where these changed.
        """
        body = {"format": FORMAT, **asdict(self), "fingerprints": dict(fingerprints)}
        body["supernet"] = None if self.supernet is None else self.supernet.to_dict()
        atomic_write_text(folder / FILE, json.dumps(body, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> tuple[SearchRequest, dict[str, str]]:
        """Return the request in a run folder, and its fingerprints.

        Raises:
            UserError: where the folder is no run.
        """
        path = folder / FILE
        try:
            body = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            raise UserError(
                f"{folder}: not a run of `effsearch run` (it has no readable {FILE})"
            ) from None
        names = {f.name for f in fields(cls)}
        try:
            if body["format"] != FORMAT:
                raise ValueError
            fingerprints = {str(k): str(v) for k, v in body["fingerprints"].items()}
            if body.get("supernet") is not None:
                body["supernet"] = SupernetOptions.from_dict(body["supernet"])
            return cls(**{k: v for k, v in body.items() if k in names}), fingerprints
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UserError(f"{path}: not a request of this version of effsearch") from None


def default_trials(proxy: str) -> int:
    """Return how many candidates a run evaluates where nobody says."""
    return DEFAULT_TRIALS_SLOW if proxy in SLOW_SOURCES else DEFAULT_TRIALS


def _positive(option: str, value: Any, what: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{option}: {value} is not {what}")
