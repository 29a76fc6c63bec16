"""`SearchRequest`: what a person asked for, validated, and kept in the run folder."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter

from effsearch.accuracy.options import ScoreOptions
from effsearch.accuracy.registry import find, read_options
from effsearch.files import atomic_write_text
from effsearch.json_text import parse_json
from effsearch.latency.catalogue import table_name
from effsearch.run.enqueued import Enqueued
from effsearch.search.evaluation import EvaluatorSpec
from effsearch.search.limits import Limits, OtherDevice
from effsearch.validation import MAX_SEED
from searchspace import UserError
from searchspace.errors import short
from searchspace.narrowing import Narrowing
from searchspace.schema import CLASSIFICATION, SEGMENTATION

FILE = "request.json"
FORMAT = 5
# 4 had no --task; 3 one device, none of the limits on memory and size, no --enqueue
READABLE = (3, 4, FORMAT)
SPACES = {CLASSIFICATION: "mobile", SEGMENTATION: "segmentation"}  # where nobody names one
DEFAULT_TRIALS = 1000
DEFAULT_CONSIDER = 1_000_000  # half of the 44 s of a whole run (results/search/run.json)
# A source that runs networks takes a second or so for each.
DEFAULT_TRIALS_SLOW = 300


@dataclass(frozen=True)
class SearchRequest:
    """One search; the same request gives the same result.

    Attributes:
        device: name of a latency table, or a path to one.
        budget_ms: latency that must not be exceeded.
        task: what the networks are for: `classification` or `segmentation`.
        confidence: probability with which a candidate has to stay within the budget.
        space: name of a space, or a path to one.
        proxy: name of the score source.
        trials: candidates to record; all are evaluated one by one, unless the score is a function
            of totals.
        consider: networks to price and score in all, where the score is a function of totals.
        seed: of every random choice.
        winners: how many to hand back.
        max_params_m: limit on parameters in millions, or None.
        max_macs_m: limit on multiply-accumulates in millions, or None.
        max_memory_mb: limit on activations that are alive at once, in millions of bytes, or None.
        max_size_mb: limit on weights in millions of bytes, or None.
        also: further devices, each with its budget, or without one if it is only reported.
        enqueue: networks of a person's own, which are considered too.
        narrowing: what is kept of the space.
        study: name of the study that several drivers share in a storage; None where the run has its
            own.
        options: what the score source takes; its defaults where left out.

    Raises:
        UserError: on construction, where a value is out of range; names its option.
    """

    device: str
    budget_ms: float
    task: str = CLASSIFICATION
    confidence: float = 0.8
    space: str = "mobile"
    proxy: str = "imagenet"
    trials: int = DEFAULT_TRIALS
    consider: int = DEFAULT_CONSIDER
    seed: int = 0
    winners: int = 5
    max_params_m: float | None = None
    max_macs_m: float | None = None
    max_memory_mb: float | None = None
    max_size_mb: float | None = None
    also: tuple[OtherDevice, ...] = ()
    enqueue: tuple[Enqueued, ...] = ()
    narrowing: Narrowing = field(default_factory=Narrowing)
    study: str | None = None
    options: ScoreOptions = field(default_factory=ScoreOptions)

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    def __post_init__(self) -> None:
        if self.task not in SPACES:
            raise UserError(f"--task: {short(self.task)} is unknown; use {' or '.join(SPACES)}")
        _positive("--budget-ms", self.budget_ms, "a positive number of milliseconds")
        if not 0 < self.confidence < 1:
            raise UserError(f"--confidence: {self.confidence} is not between 0 and 1 (try 0.8)")
        for option, limit, unit in (
            ("--max-params", self.max_params_m, "millions"),
            ("--max-macs", self.max_macs_m, "millions"),
            ("--max-memory", self.max_memory_mb, "MB"),
            ("--max-size", self.max_size_mb, "MB"),
        ):
            if limit is not None:
                _positive(option, limit, f"a positive number of {unit}")
        named = {table_name(self.device)}
        for other in self.also:
            if other.name in named and other.budget_ms is None:
                raise UserError(f"--watch: {other.name} is named already, and shown")
            if other.name in named:
                raise UserError(f"--also: {other.name} is named twice; give each device one budget")
            named.add(other.name)
        if self.seed > MAX_SEED:
            raise UserError(f"--seed: {short(self.seed)} is above {MAX_SEED}")
        for option, value, least in (
            ("--trials", self.trials, 1),
            ("--consider", self.consider, 1),
            ("--seed", self.seed, 0),
            ("--winners", self.winners, 1),
        ):
            if value < least:
                raise UserError(f"{option}: {value} is not an integer of {least} or more")
        if self.study is not None and not find(self.proxy).slow:
            raise UserError(
                f"--storage: is for slow scores, and --proxy {self.proxy} is fast: one process "
                "does the whole search in seconds; leave --storage away"
            )
        self._check_enqueued()
        if type(self.options) is ScoreOptions:
            object.__setattr__(self, "options", read_options(self.proxy, {}))

    def _check_enqueued(self) -> None:
        names: dict[str, str] = {}
        for own in self.enqueue:
            digest = own.network.digest()
            if digest in names:
                raise UserError(f"--enqueue: {own.name} is the same network as {names[digest]}")
            names[digest] = own.name
        if self.trials < len(names):
            raise UserError(f"--trials: {self.trials} are less than the networks of --enqueue")

    @property
    def limits(self) -> Limits:
        """What every candidate is held against."""
        return Limits(
            self.budget_ms,
            self.max_params_m,
            self.max_macs_m,
            self.max_memory_mb,
            self.max_size_mb,
            tuple((o.name, o.budget_ms) for o in self.also if o.budget_ms is not None),
        )

    @property
    def evaluator_spec(self) -> EvaluatorSpec:
        """What workers make their evaluators from."""
        others = tuple(o.device for o in self.also)
        return EvaluatorSpec(self.device, self.proxy, self.confidence, self.options, others)

    def write(self, folder: Path, fingerprints: Mapping[str, str]) -> None:
        """Write it to a run folder.

        Args:
            folder: the run folder.
            fingerprints: of what the request only names (table, score source), so that a resumed
                run notices where these changed.
        """
        body = {
            "format": FORMAT,
            **asdict(self),
            "options": self.options.model_dump(mode="json"),
            "fingerprints": dict(fingerprints),
        }
        body["seal"] = _seal(body)
        atomic_write_text(folder / FILE, json.dumps(body, indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> tuple[SearchRequest, dict[str, str]]:
        """Return the request in a run folder, and its fingerprints.

        Raises:
            UserError: where the folder is no run, its request is of another version or was
                changed, or its score source is not there any more.
        """
        path = folder / FILE
        try:
            body = parse_json(path.read_text("utf-8"))
        except (OSError, ValueError):
            raise UserError(
                f"{folder}: not a run of `effsearch run` (it has no readable {FILE})"
            ) from None
        wrong = UserError(f"{path}: not a request of this version of effsearch")
        version = body.get("format") if isinstance(body, dict) else None
        if version not in READABLE:
            raise wrong
        if body.pop("seal", None) != _seal(body):
            raise UserError(
                f"{path}: was changed since the run was begun, and its trials answer the question "
                "as it was; start a new run"
            )
        del body["format"]
        # The source may be of a package that is not installed here, and says so.
        entry = find(str(body.get("proxy")))
        try:
            fingerprints = {str(k): str(v) for k, v in body.pop("fingerprints").items()}
            body["options"] = entry.options.model_validate(body["options"])
            return TypeAdapter(cls).validate_python(body), fingerprints
        except (KeyError, ValueError, AttributeError):
            raise wrong from None


def default_trials(proxy: str) -> int:
    """Return how many candidates a run evaluates where nobody says.

    Raises:
        UserError: where there is no such score source.
    """
    return DEFAULT_TRIALS_SLOW if find(proxy).slow else DEFAULT_TRIALS


def _seal(body: Mapping[str, Any]) -> str:
    """Return a digest by which a request that was edited is told."""
    text = json.dumps({k: v for k, v in body.items() if k != "seal"}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _positive(option: str, value: Any, what: str) -> None:
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"{option}: {value} is not {what}")
