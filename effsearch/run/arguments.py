"""`RunArguments`: what a person says of a run, typed, and the request that it means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from effsearch.accuracy.function_score import FunctionScore
from effsearch.accuracy.registry import DEFAULTS, find, read_options
from effsearch.refine.options import RefineOptions
from effsearch.run.enqueued import Enqueued
from effsearch.run.request import SPACES, SearchRequest, default_trials
from effsearch.search.engines import ENGINES
from effsearch.search.executors import RAY_WAIT_S, usable_cores
from effsearch.search.limits import OtherDevice
from searchspace.errors import UserError
from searchspace.narrowing import Narrowing

# Flags of a score source that say something else too.
SHARED = ("data",)
_ASKED = (
    "budget_ms", "device", "task", "space", "trials", "consider", "seed", "confidence", "proxy",
    "winners", "max_params_m", "max_macs_m", "max_memory_mb", "max_size_mb", "also", "enqueue",
    "narrowing", "study",
)  # fmt: skip
_MAY_GROW = ("trials", "consider", "winners")

T = TypeVar("T")


@dataclass(frozen=True)
class Resources:
    """What a run may use; none of it changes what a search finds.

    Attributes:
        workers: processes or Ray actors.
        engine: `local` or `ray`.
        ray_address: of a Ray cluster; None starts one on this machine.
        ray_wait_s: how long to wait for a cluster's first free CPU.
        cache: whether slow scores of earlier runs serve, and those of this one are kept.
        storage: URL of the database with the study that several drivers share; None for none.
    """

    workers: int = 1
    engine: str = "local"
    ray_address: str | None = None
    ray_wait_s: float = RAY_WAIT_S
    cache: bool = True
    storage: str | None = None


@dataclass(frozen=True)
class RunArguments:
    """What the command line says of a run; None where it says nothing.

    The fields from `budget_ms` to `study` are those of `SearchRequest`, the last six those
    of `Resources`.

    Attributes:
        score_flags: flags of score sources by field; None for those not given.
        refining: flags of `--refine`.
        out: run folder to make.
        resume: run folder to continue.
    """

    score_flags: Mapping[str, Any] = field(default_factory=dict)
    refining: RefineOptions = field(default_factory=RefineOptions)
    out: Path | None = None
    resume: Path | None = None
    budget_ms: float | None = None
    device: str | None = None
    task: str | None = None
    space: str | None = None
    trials: int | None = None
    consider: int | None = None
    seed: int | None = None
    confidence: float | None = None
    proxy: str | None = None
    winners: int | None = None
    max_params_m: float | None = None
    max_macs_m: float | None = None
    max_memory_mb: float | None = None
    max_size_mb: float | None = None
    also: tuple[OtherDevice, ...] | None = None
    enqueue: tuple[Enqueued, ...] | None = None
    narrowing: Narrowing | None = None
    study: str | None = None
    workers: int | None = None
    engine: str = "local"
    ray_address: str | None = None
    ray_wait_s: float | None = None
    cache: bool = True
    storage: str | None = None

    def check(self) -> None:
        """Check what can be checked by itself.

        Raises:
            UserError: names the option.
        """
        if self.workers is not None and self.workers < 1:
            raise UserError(f"--workers: {self.workers} is not an integer of 1 or more")
        if self.engine not in ENGINES:
            known = ", ".join(ENGINES)
            raise UserError(f"--engine: {self.engine!r} is unknown; use one of {known}")
        if self.ray_address is not None and self.engine != "ray":
            raise UserError("--ray-address: needs --engine ray")
        if self.ray_wait_s is not None and not 0 <= self.ray_wait_s <= 86400:
            raise UserError(f"--ray-wait: {self.ray_wait_s} is not from 0 to 86400 seconds")
        if self.storage is not None and self.resume is None and not self.study:
            raise UserError("--study: missing; name the study that all drivers work on")
        if self.study is not None and self.storage is None:
            raise UserError("--storage: missing; give the URL of the database with the study")
        self.refining.check()
        if self.resume is not None and self.out is not None:
            raise UserError("--out: a resumed run stays in its folder; leave --out away")

    def resources(self) -> Resources:
        """Return what the run may use."""
        return Resources(
            self.workers or usable_cores(),
            self.engine,
            self.ray_address,
            _or(self.ray_wait_s, RAY_WAIT_S),
            self.cache,
            self.storage,
        )

    def request(self) -> SearchRequest:
        """Return the request of a new run; a table's file is named by its absolute path.

        Raises:
            UserError: where a value is missing or out of range, or there is no such score source.
        """
        if self.budget_ms is None:
            raise UserError("--budget-ms: missing")
        if self.device is None:
            raise UserError("--device: missing")
        task = _or(self.task, SearchRequest.task)
        usual = DEFAULTS.get(task, SearchRequest.proxy)  # an unknown task is refused with the rest
        own = FunctionScore.name if self.score_flags.get("score") else usual
        proxy = _or(self.proxy, own)
        options = read_options(proxy, self.score_flags, SHARED)
        space = self.space
        return SearchRequest(
            device=_lasting(self.device),
            budget_ms=self.budget_ms,
            confidence=_or(self.confidence, SearchRequest.confidence),
            task=task,
            space=space or options.default_space() or SPACES.get(task, SearchRequest.space),
            proxy=proxy,
            trials=_or(self.trials, default_trials(proxy)),
            consider=_or(self.consider, SearchRequest.consider),
            seed=_or(self.seed, SearchRequest.seed),
            winners=_or(self.winners, SearchRequest.winners),
            max_params_m=self.max_params_m,
            max_macs_m=self.max_macs_m,
            max_memory_mb=self.max_memory_mb,
            max_size_mb=self.max_size_mb,
            enqueue=self.enqueue or (),
            also=tuple(replace(o, device=_lasting(o.device)) for o in self.also or ()),
            narrowing=_or(self.narrowing, Narrowing()),
            study=self.study,
            options=options,
        )

    def extended(self, stored: SearchRequest, folder: Path) -> SearchRequest:
        """Return the request of a resumed run, with more trials or winners where asked for.

        Anything else that differs is a mistake: the trials so far answer another question.

        Args:
            stored: the run's own.
            folder: the run folder.

        Raises:
            UserError: names the option that differs.
        """
        if (stored.study is None) != (self.storage is None):
            raise UserError(
                f"--storage: the run in {folder} has its study in its folder; leave --storage away"
                if stored.study is None
                else f"--storage: missing; the run in {folder} is of a study in a database"
            )
        given = {name: getattr(self, name) for name in _ASKED}
        given = {name: value for name, value in given.items() if value is not None}
        for name, value in given.items():
            held = getattr(stored, name)
            if name in _MAY_GROW or value == held:
                continue
            raise UserError(
                f"{_option(name)}: {_words(value)} differs from {_words(held)} of the run in "
                f"{folder}; leave it away, or start a new run"
            )
        stored.options.check_same(self.score_flags, folder, SHARED)
        return replace(stored, **{name: given[name] for name in _MAY_GROW if name in given})

    def refining_of(self, request: SearchRequest) -> RefineOptions:
        """Return the flags of `--refine`, without images that are there for the score alone."""
        own = find(request.proxy).options.flags()
        alone = self.refining.count is None and "data" in own
        data = None if alone else self.refining.data
        return replace(self.refining, data=data, task=request.task)


def _lasting(device: str) -> str:
    """Return a table's name, or its file by a path that holds from any folder."""
    is_file = device.endswith(".json") and Path(device).is_file()
    return str(Path(device).resolve()) if is_file else device


def _option(name: str) -> str:
    if name == "narrowing":
        return "--blocks, --stem-strides, --resolution"
    if name == "also":
        return "--also, --watch"
    return "--" + name.removesuffix("_m").removesuffix("_mb").replace("_", "-")


def _words(value: object) -> str:
    return (", ".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)


def _or(value: T | None, default: T) -> T:
    return default if value is None else value
