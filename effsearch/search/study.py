"""`StudyStore`: an Optuna study on disk that survives being killed.

Optuna's journal backend opens, locks and syncs its file for every single trial. Batches of
finished trials are written here with one sync, in the same format, so that any Optuna tool (its
dashboard, `optuna.load_study`) reads the file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import (
    CategoricalDistribution,
    IntDistribution,
    json_to_distribution,
)
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from effsearch.files import LineLog
from effsearch.json_text import parse_json
from effsearch.search.candidates import Candidate, Outcome, Record
from effsearch.search.parameters import from_params, to_params
from searchspace import Architecture, SearchSpace, UserError
from searchspace.errors import short

FILE = "study.log"
NAME = "effsearch"
_LOCK = "run.lock"
OBJECTIVES = ("score lower bound", "latency quantile, ms")
DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)


class _BatchedBackend(JournalFileBackend):
    """A journal file that one process writes, many entries at a time."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path), JournalFileOpenLock(str(path)))
        self._pending: list[dict[str, Any]] = []
        self._written: int | None = None  # entries in the file, where known
        self._batching = False

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if self._batching:
            self._pending.extend(_shortened(entry) for entry in logs)
            return
        super().append_logs(logs)
        self._written = None

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:  # type: ignore[override]
        if not self._batching:
            yield from super().read_logs(log_number_from)
            return
        assert self._written is not None
        # JSON as in the file: what is replayed now is what a later reader replays.
        for entry in self._pending[max(0, log_number_from - self._written) :]:
            yield json.loads(json.dumps(entry))

    @contextmanager
    def batch(self, written: int) -> Iterator[None]:
        """Hold entries back until the end, then write them with one sync.

        Args:
            written: entries that the file has.
        """
        self._batching, self._written = True, written
        try:
            yield
        finally:
            self._batching = False
        pending, self._pending = self._pending, []
        if pending:
            super().append_logs(pending)


def _shortened(entry: dict[str, Any]) -> dict[str, Any]:
    """Return an entry with its distributions in the abbreviated format that Optuna reads too.

    A journal repeats them for every trial, so that they are most of it.
    """
    if "distributions" not in entry:
        return entry
    named = {name: _abbreviated(text) for name, text in entry["distributions"].items()}
    return {**entry, "distributions": named}


@lru_cache(maxsize=4096)
def _abbreviated(text: str) -> str:
    found = json_to_distribution(text)
    if isinstance(found, CategoricalDistribution):
        body: dict[str, Any] = {"type": "categorical", "choices": found.choices}
    elif isinstance(found, IntDistribution) and not found.log:
        body = {"type": "int", "low": found.low, "high": found.high}
        if found.step != 1:
            body["step"] = found.step
    else:
        return text
    return json.dumps(body, separators=(",", ":"))


class StudyStore:
    """The study of one run folder; held by one process at a time.

    Attributes:
        space: the space that trials are of.
        study: the Optuna study: score up, latency down, the limits as constraints.
    """

    def __init__(self, folder: Path, space: SearchSpace) -> None:
        """Open the study, or begin it.

        Raises:
            UserError: where another process holds it, or its file is damaged.
        """
        self.space = space
        self._lock = _hold(folder)
        try:
            self._open(folder / FILE)
        except BaseException:
            self.close()
            raise

    def _open(self, path: Path) -> None:
        _mend(path)
        quiet()
        self._backend = _BatchedBackend(path)
        try:
            self.study = optuna.create_study(
                storage=JournalStorage(self._backend),
                study_name=NAME,
                directions=list(DIRECTIONS),
                load_if_exists=True,
            )
            self.study.set_metric_names(list(OBJECTIVES))
        except OSError:
            raise
        except Exception as error:  # Optuna replays whatever the lines say
            reason = f"{type(error).__name__}: {short(str(error))}"
            raise UserError(f"{path}: damaged beyond its last line ({reason})") from None
        with path.open("rb") as file:
            self._entries = sum(1 for _ in file)

    def add(self, records: Sequence[Record]) -> None:
        """Append evaluated candidates; they are on disk when this returns."""
        trials = [to_trial(self.space, record) for record in records]
        with self._backend.batch(self._entries):
            self.study.add_trials(trials)
        self._entries += len(trials)

    def records(self) -> list[Record]:
        """Return everything evaluated so far, in order.

        Raises:
            UserError: where trials are not of this space, or were edited.
        """
        records = []
        seen: set[str] = set()
        for trial in self.study.get_trials(deepcopy=False):
            record = from_trial(self.space, trial)
            if record.candidate.digest in seen:
                raise UserError(f"trial {trial.number} of the study is in it twice; was it edited?")
            seen.add(record.candidate.digest)
            records.append(record)
        return records

    def close(self) -> None:
        """Let other processes have the study."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def to_trial(space: SearchSpace, record: Record) -> FrozenTrial:
    """Return a record as a finished Optuna trial.

    A network outside the space has no parameters; its architecture is in the attributes.
    """
    outcome = record.outcome
    return optuna.create_trial(
        state=TrialState.FAIL if record.failed else TrialState.COMPLETE,
        values=None if record.failed else [outcome.lower_bound, outcome.quantile_ms],
        system_attrs=None if record.failed else constraints(record.excess),
        **described(
            space,
            record.candidate,
            batch=record.batch,
            outcome=outcome.to_dict(),
            excess=dict(record.excess),
        ),
    )


def constraints(excess: Mapping[str, float]) -> dict[str, Any]:
    """Return a trial's excess over the limits as what Optuna keeps of constraints.

    As a list, which all versions and optuna-dashboard read; newer ones can name each, which the
    dashboard passes over (0.21), so that its front would hold what is over the limits.
    """
    return {"constraints": list(excess.values())}


def described(space: SearchSpace, candidate: Candidate, **attributes: Any) -> dict[str, Any]:
    """Return what says of a trial which candidate it is of, as arguments of `create_trial`.

    Args:
        space: the space.
        candidate: the candidate.
        attributes: what else is to be known of the trial.
    """
    attributes |= {
        "digest": candidate.digest,
        "origin": candidate.origin,
        "source": candidate.source,
    }
    params: dict[str, Any] = {}
    distributions: dict[str, Any] = {}
    if candidate.member:
        params, distributions = to_params(space, candidate.architecture)
    else:
        attributes["architecture"] = candidate.architecture.to_dict()
    return {"params": params, "distributions": distributions, "user_attrs": attributes}


def from_trial(space: SearchSpace, trial: FrozenTrial) -> Record:
    """Return the record that a trial holds.

    Raises:
        UserError: where the trial is not of this space.
    """
    attributes = trial.user_attrs
    candidate = candidate_of(space, trial)
    with _told(trial):
        outcome = Outcome.from_dict(attributes["outcome"])
        batch, excess = attributes["batch"], attributes["excess"]
        if type(batch) is not int or not isinstance(excess, dict):
            raise TypeError
    return Record(trial.number, batch, candidate, outcome, excess)


def candidate_of(space: SearchSpace, trial: FrozenTrial) -> Candidate:
    """Return the candidate that a trial is of.

    Raises:
        UserError: where the trial is not of this space.
    """
    attributes = trial.user_attrs
    with _told(trial):
        stored = attributes.get("architecture")
        if stored is None:
            architecture = from_params(space, trial.params)
        else:
            architecture = Architecture.from_dict(stored)
        candidate = Candidate(
            architecture, attributes["origin"], attributes["source"], member=stored is None
        )
        digest = attributes["digest"]
    if candidate.digest != digest:
        raise UserError(
            f"trial {trial.number} of the study is not of the space {space.name} any more"
        )
    return candidate


@contextmanager
def _told(trial: FrozenTrial) -> Iterator[None]:
    """Say of a trial that cannot be read which it is."""
    try:
        yield
    except KeyError as error:
        raise UserError(f"trial {trial.number} of the study lacks {error}") from None
    except UserError:
        raise
    except (TypeError, ValueError, AttributeError):
        raise UserError(f"trial {trial.number} of the study is damaged") from None


def _hold(folder: Path) -> int | None:
    """Lock the run folder for this process; the system lets go of it when the process ends."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        return None
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise UserError(f"{folder}: another process is at work on this run") from None
    return descriptor


def _mend(path: Path) -> None:
    """Cut off a last line that a kill left unfinished, and the lock that it left behind."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    LineLog(path).mend(_is_json)


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(parse_json(line), dict)
    except ValueError:
        return False


def quiet() -> None:
    """Keep Optuna from talking."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    import warnings

    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
