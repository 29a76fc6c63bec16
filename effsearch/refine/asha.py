"""Ray Tune's ASHA, with a journal from which a resumed run comes to the same decisions.

ASHA: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from effsearch.refine.journal import Entry, Journal
from effsearch.refine.ranking import FAILED, FINISHED, STOPPED, Training
from effsearch.training.recipe import Recipe

REDUCTION = 2  # half of the networks go on at each rung
# All epochs of a training over those that every network gets, and these at least: after one epoch
# of four, the order of eight networks had tau 0.29 with the last one, after two 0.64.
_SPAN = 8
_LEAST = 2
_NOBODY: Any = None  # ASHA asks nothing of Tune's controller

OnEntry = Callable[[Entry, bool], None]


def grace_epochs(recipe: Recipe) -> int:
    """Return the epochs that every network gets before any is stopped.

    An eighth of all, the warm-up, and one at the recipe's full side: in 9 epochs of `evidence-cpu`
    the order of ten networks had tau 0.38 with the last one after 3 and after 5 epochs of small
    images, and 0.96 after the first whole epoch of large ones (results/accuracy).
    """
    epochs = range(recipe.epochs)
    at_full_side = 1 + sum(recipe.side_at(epoch) != recipe.image_side for epoch in epochs)
    eighth = math.ceil(recipe.epochs / _SPAN)
    least: int = max(_LEAST, eighth, math.ceil(recipe.warmup_epochs), at_full_side)
    return min(least, recipe.epochs)


class JournaledASHA(ASHAScheduler):
    """ASHA that writes each result down before it decides on it.

    On construction the journal's results are decided on again, in their order, so that the rungs
    are what they were, and it is known who was stopped. Trials are known by their network's
    digest, which a resumed run has again.

    Args:
        recipe: of all trainings.
        journal: what happened so far; gets what happens from here on.
        on_entry: told of each new line, and whether the training ends with it.
    """

    def __init__(
        self,
        recipe: Recipe,
        journal: Journal,
        on_entry: OnEntry = lambda entry, ends: None,
    ) -> None:
        super().__init__(
            time_attr="epoch",
            metric=journal.key,
            mode="max",
            max_t=recipe.epochs,
            grace_period=grace_epochs(recipe),
            reduction_factor=REDUCTION,
        )
        self.journal = journal
        self.failed: dict[str, str] = {}
        self._epochs = recipe.epochs
        self._states: dict[str, str] = {}
        self._on_entry = on_entry
        for entry in journal.entries:
            self._decide(entry)

    def __getstate__(self) -> dict[str, Any]:
        # Ray pickles schedulers for experiments that it restores itself; here the journal does.
        return {**vars(self), "_on_entry": None}

    def training(self, digest: str) -> Training | None:
        """Return a network's training; None while it is not at its end."""
        state = self._states.get(digest)
        if state is None:
            return None
        mine = [e for e in self.journal.entries if e.digest == digest]
        return Training(
            digest,
            tuple(self.journal.curve(digest)),
            state,
            self.failed.get(digest, ""),
            sum(e.seconds for e in mine),
            tuple(sorted({e.device for e in mine if e.device})),
            {e.epoch: e.std for e in mine if e.std is not None},
        )

    def fail(self, digest: str, reason: str) -> None:
        """Note that a training failed, for a reason that may not come again."""
        self._add(Entry(digest, failed=reason))

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Ray's hook for a new trial."""
        super().on_trial_add(tune_controller, _named(trial.config["digest"]))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Ray's hook for a result: write it down, then decide on it."""
        digest = result["digest"]
        if "failed" in result:
            return self._add(Entry(digest, failed=result["failed"], final=bool(result["final"])))
        if result["epoch"] <= self.journal.epochs(digest):
            return str(TrialScheduler.CONTINUE)
        seconds = float(result.get("time_this_iter_s") or 0.0)
        return self._add(
            Entry(
                digest,
                int(result["epoch"]),
                float(result[self.journal.key]),
                round(seconds, 3),
                str(result.get("device", "")),
                std=result.get("std"),
            )
        )

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Ray's hook for a process that died; errors of a training come as results."""
        self.fail(trial.config["digest"], "its process died (out of memory?)")

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        """Ray's hook for an end; everything was decided when the result came."""

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        """Ray's hook for a removed trial; the rungs keep what was recorded."""

    def _add(self, entry: Entry) -> str:
        self.journal.add(entry)
        action = self._decide(entry)
        self._on_entry(entry, action == TrialScheduler.STOP)
        return action

    def _decide(self, entry: Entry) -> str:
        if entry.failed:
            self._states[entry.digest] = FAILED
            self.failed[entry.digest] = entry.failed
            return str(TrialScheduler.STOP)
        named = _named(entry.digest)
        if entry.digest not in self._trial_info:
            super().on_trial_add(_NOBODY, named)
        result = {"epoch": entry.epoch, self.journal.key: entry.value}
        action = str(super().on_trial_result(_NOBODY, named, result))
        if action == TrialScheduler.STOP:
            last = entry.epoch >= self._epochs
            self._states[entry.digest] = FINISHED if last else STOPPED
        return action


def _named(digest: str) -> Any:
    # All that ASHA asks of a trial.
    return SimpleNamespace(trial_id=digest)
