"""`SharedStudy`: a study in a database, at which several drivers work.

A driver claims a candidate by a running trial with the candidate's digest. Numbers of trials are
given out one at a time, so of two claims of one digest the lower number holds, and both drivers see
that alike. Drivers count on while they live; where one stands still, its claims are given up:
failed trials without an outcome, which others may claim again. (Optuna's own heartbeat is for its
`optimize`, and takes a row for each trial.)
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import OptunaError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from effsearch.errors import WorkFailedError
from effsearch.search.candidates import Candidate, Outcome, Record
from effsearch.search.limits import Limits
from effsearch.search.study import (
    DIRECTIONS,
    OBJECTIVES,
    candidate_of,
    constraints,
    described,
    from_trial,
    quiet,
)
from searchspace import SearchSpace, UserError
from searchspace.errors import first_line

BEAT_S = 5.0
GRACE_S = 60.0  # without a beat, until a driver counts as dead
_BEAT = "driver "
_QUESTION = "question"


@dataclass(frozen=True)
class Claim:
    """A candidate that this driver has claimed, and the trial that says so.

    Attributes:
        trial_id: of the trial in the storage.
        number: of the trial in the study.
        candidate: to be evaluated.
        batch: which batch of the study it is of.
    """

    trial_id: int
    number: int
    candidate: Candidate
    batch: int


@dataclass(frozen=True)
class State:
    """What all drivers together have done.

    Attributes:
        records: of what was evaluated, in the order of its trials.
        pending: what is claimed.
        trials: how many trials there are, those that were given up too.
    """

    records: list[Record]
    pending: list[Candidate]
    trials: int


class SharedStudy:
    """A study in a storage, and this driver's part in it.

    Attributes:
        space: the space that trials are of.
        driver: number of this driver, drawn at random.
    """

    def __init__(
        self, storage: RDBStorage, name: str, space: SearchSpace, question: Mapping[str, Any]
    ) -> None:
        """Open the study, or begin it.

        Args:
            storage: where it is.
            name: of the study.
            space: the space.
            question: what the search is for, by option; all drivers have to ask the same.

        Raises:
            UserError: where the study answers another question, or is none of effsearch.
        """
        quiet()
        self.space, self.driver = space, secrets.randbits(32)
        self._last_beats: dict[int, tuple[Any, float]] = {}
        self._records: dict[int, Record | None] = {}  # of finished trials; None for given up ones
        self._beat = f"{_BEAT}{self.driver}"
        try:
            self._study = optuna.create_study(
                storage=storage, study_name=name, directions=list(DIRECTIONS), load_if_exists=True
            )
            self._storage = self._study._storage
            self._check(name, json.loads(json.dumps(question)))  # as the storage gives it back
        except (OptunaError, SQLAlchemyError) as error:
            raise UserError(f"--storage: does not answer ({_reason(error)})") from None

    def _check(self, name: str, question: dict[str, Any]) -> None:
        held = self._study.user_attrs.get(_QUESTION)
        if held is None:
            if self._study.get_trials(deepcopy=False):
                raise UserError(f"--study: {name} is another program's; name another")
            self._study.set_metric_names(list(OBJECTIVES))
            self._study.set_user_attr(_QUESTION, question)
            return
        differing = [k for k in {**held, **question} if held.get(k) != question.get(k)]
        if differing:
            raise UserError(
                f"--study: {name} was begun with another {differing[0]}; name another, or ask the "
                "same"
            )

    def read(self) -> State:
        """Return what all drivers have done by now.

        Raises:
            UserError: where trials are not of this space, or were edited.
        """
        pending = []
        trials = self._trials()
        for trial in trials:
            if trial.state == TrialState.RUNNING:
                pending.append(candidate_of(self.space, trial))
            elif trial.number not in self._records:
                lost = "outcome" not in trial.user_attrs
                self._records[trial.number] = None if lost else from_trial(self.space, trial)
        found = [record for _, record in sorted(self._records.items()) if record is not None]
        return State(found, pending, len(trials))

    def claim(self, candidates: Sequence[Candidate], batch: int, most: int) -> list[Claim]:
        """Claim candidates; those that another driver was faster with are left out.

        Args:
            candidates: what to claim.
            batch: which batch of the study they are of.
            most: candidates that the study shall have.
        """
        claims = [self._claimed(candidate, batch) for candidate in candidates]
        holding: dict[str, int] = {}  # the first trial of each digest
        for trial in self._trials():
            if trial.state == TrialState.RUNNING or "outcome" in trial.user_attrs:
                holding.setdefault(trial.user_attrs["digest"], trial.number)
        enough = set(list(holding.values())[:most])
        mine = [
            claim
            for claim in claims
            if claim.number == holding.get(claim.candidate.digest) and claim.number in enough
        ]
        self.give_up([claim for claim in claims if claim not in mine])
        return mine

    def _claimed(self, candidate: Candidate, batch: int) -> Claim:
        trial = optuna.create_trial(
            state=TrialState.RUNNING,
            **described(self.space, candidate, batch=batch, driver=self.driver),
        )
        trial_id = self._storage.create_new_trial(self._study._study_id, template_trial=trial)
        number = self._storage.get_trial_number_from_id(trial_id)
        return Claim(trial_id, number, candidate, batch)

    def tell(self, claim: Claim, outcome: Outcome, limits: Limits) -> None:
        """Store what a candidate was evaluated at; nothing where its claim was given up by now."""
        excess = {} if outcome.error else limits.excess(outcome)
        trial = Trial(self._study, claim.trial_id)
        try:
            trial.set_user_attr("excess", excess)
            trial.set_user_attr("outcome", outcome.to_dict())
            if outcome.error:
                self._storage.set_trial_state_values(claim.trial_id, TrialState.FAIL)
                return
            for name, value in constraints(excess).items():
                self._storage.set_trial_system_attr(claim.trial_id, name, value)
            values = [outcome.lower_bound, outcome.quantile_ms]
            self._storage.set_trial_state_values(claim.trial_id, TrialState.COMPLETE, values)
        except UpdateFinishedTrialError:
            return

    def give_up(self, claims: Sequence[Claim]) -> None:
        """Let other drivers have what this one claimed."""
        for claim in claims:
            self._fail(claim.trial_id)

    def bury(self) -> int:
        """Give up the claims of drivers that stood still for long; returns how many there were."""
        beats, now, count = self._study.user_attrs, time.monotonic(), 0
        for trial in self._trials():
            if trial.state != TrialState.RUNNING:
                continue
            driver = trial.user_attrs["driver"]
            if driver == self.driver:
                continue
            beat = beats.get(f"{_BEAT}{driver}")
            last, since = self._last_beats.setdefault(driver, (beat, now))
            if last != beat:
                self._last_beats[driver] = beat, now
            elif now - since > GRACE_S:
                count += self._fail(trial._trial_id)
        return count

    def _fail(self, trial_id: int) -> bool:
        try:
            return self._storage.set_trial_state_values(trial_id, TrialState.FAIL)
        except UpdateFinishedTrialError:
            return False

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    @contextmanager
    def alive(self) -> Iterator[None]:
        """Count on until the block ends, so that others know that this driver lives."""
        ended = threading.Event()

        def count() -> None:
            number = 0
            while True:
                number += 1
                # Where it fails, the search itself says so, or the storage is back at the next.
                with suppress(OptunaError, SQLAlchemyError):
                    self._study.set_user_attr(self._beat, number)
                if ended.wait(BEAT_S):
                    return

        beating = threading.Thread(target=count, daemon=True)
        beating.start()
        try:
            yield
        except (OptunaError, SQLAlchemyError) as error:
            raise WorkFailedError(
                f"the storage failed ({_reason(error)}); what it was told is kept: go on with the "
                "same command, or --resume"
            ) from None
        finally:
            ended.set()
            beating.join()


def _reason(error: Exception) -> str:
    cause = error.__cause__ or error
    return first_line(getattr(cause, "orig", None) or cause)
