"""`SpaceSampler`: the search's planner as a sampler of plain Optuna."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from effsearch.latency.table import DeviceTable, quantile_ms
from effsearch.search.candidates import SAMPLED, Candidate, Outcome, Record
from effsearch.search.guided import BATCH, INITIAL, GuidedPlanner
from effsearch.search.parameters import Params, from_params, to_params
from effsearch.search.planner import published
from effsearch.search.surrogate import Array
from searchspace import SearchSpace, UserError
from searchspace.variation import Codes


class SpaceSampler(BaseSampler):
    """Samples architectures of a space, for studies whose objective calls `space.suggest(trial)`.

        study = optuna.create_study(direction="maximize", sampler=SpaceSampler("small", seed=1))
        study.optimize(lambda trial: accuracy_of(space.suggest(trial)), n_trials=200)

    It begins with the published networks of the space (those within the budget, where there is one)
    and random members, and goes on with what may add most to the front of the study's first
    objective and the table's latency (`GuidedPlanner`).
    Parameters that are not the space's are sampled at random.

    Args:
        space: the space, or its name or file.
        table: a latency table, or its name or file; without one only the objective counts.
        budget_ms: latency that networks should not exceed; needs a table.
        confidence: probability with which they should not.
        startup_trials: trials before the first that learns from others.
        seed: of every random choice. One trial at a time, same seed, same trials.

    Raises:
        UserError: where there is no such space or table, or a budget without a table.
    """

    def __init__(
        self,
        space: SearchSpace | str,
        *,
        table: DeviceTable | str | None = None,
        budget_ms: float | None = None,
        confidence: float = 0.8,
        startup_trials: int = INITIAL,
        seed: int = 0,
    ) -> None:
        self._space = SearchSpace.load(space) if isinstance(space, str) else space
        self._table = DeviceTable.load(table) if isinstance(table, str) else table
        if budget_ms is not None and (self._table is None or not budget_ms > 0):
            raise UserError("budget_ms: give a positive number of milliseconds, and a table")
        self._budget_ms, self._confidence = budget_ms, confidence
        self._startup_trials, self._seed = startup_trials, seed
        self._planner = GuidedPlanner(
            self._space,
            seed,
            0,
            self._screen,
            budget_ms,
        )
        known = list({c.digest: c for c in published(self._space) if c.member}.values())
        costs = self._latencies_ms(self._planner.encoded(known))
        self._published = [
            c for c, ms in zip(known, costs.tolist(), strict=True) if self._excess(ms) <= 0
        ]
        self._independent = RandomSampler(seed=seed)
        self._known: dict[int, Record | None] = {}  # of finished trials; None for foreign ones
        self._planned: dict[int, Candidate] = {}
        self._ahead: list[Candidate] = []  # to be taken next

    def reseed_rng(self) -> None:
        """Take another seed, as Optuna asks of each process of a parallel study."""
        self._independent.reseed_rng()
        self._seed = int(np.random.default_rng().integers(1 << 31))

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Return the distributions of the network that is planned for a trial."""
        if trial.number not in self._planned:
            self._planned[trial.number] = self._plan(study, trial.number)
        return to_params(self._space, self._planned[trial.number].architecture)[1]

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        """Return the parameters of the network that is planned for a trial."""
        if not search_space:
            return {}
        return to_params(self._space, self._planned[trial.number].architecture)[0]

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """Return a random value of a parameter that is not the space's."""
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Forget the plan of a trial that ended."""
        self._planned.pop(trial.number, None)

    def _plan(self, study: Study, number: int) -> Candidate:
        records = self._records(study)
        seen = {r.candidate.digest for r in records} | {c.digest for c in self._planned.values()}
        rng = np.random.default_rng([self._seed, number])
        first = [c for c in self._published if c.digest not in seen]
        if first and number < len(self._published):
            return first[0]
        if number < self._startup_trials:
            return self._planner.sampled(rng, seen, 1)[0]
        self._ahead = [c for c in self._ahead if c.digest not in seen]
        if not self._ahead:
            waiting = list(self._planned.values())
            self._ahead = self._planner.evolved(rng, records, seen, BATCH, waiting)
        # Where everything was seen, something is seen again.
        return self._ahead.pop(0) if self._ahead else Candidate(self._space.sample(rng), SAMPLED)

    def _records(self, study: Study) -> list[Record]:
        """Return the finished trials whose parameters make a network of the space."""
        sign = -1.0 if study.directions[0] == StudyDirection.MINIMIZE else 1.0
        for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if trial.number not in self._known:
                assert trial.values is not None
                self._known[trial.number] = self._record(trial, sign * trial.values[0])
        return [record for _, record in sorted(self._known.items()) if record is not None]

    def _record(self, trial: FrozenTrial, score: float) -> Record | None:
        own = {k: v for k, v in trial.params.items() if k in self._space.axes}
        try:
            architecture = from_params(self._space, own)
            if to_params(self._space, architecture)[0].keys() != own.keys():
                return None
        except UserError:
            return None
        candidate = Candidate(architecture, SAMPLED)
        ms = float(self._latencies_ms(self._planner.encoded([candidate]))[0])
        outcome = Outcome(quantile_ms=ms, mean_ms=ms, score=score, lower_bound=score)
        excess = {} if self._budget_ms is None else {"latency": self._excess(ms)}
        return Record(trial.number, 0, candidate, outcome, excess)

    def _latencies_ms(self, codes: Codes) -> Array:
        """Return what members take with the confidence asked for, (n,); 0 without a table."""
        if self._table is None or not len(codes):
            return np.zeros(len(codes))
        mean, std = self._table.predict_many(self._space, codes)
        return np.asarray(quantile_ms(mean, std, self._confidence))

    def _screen(self, codes: Codes) -> Array:
        ms = self._latencies_ms(codes)
        return np.column_stack([[max(0.0, self._excess(each)) for each in ms.tolist()], ms])

    def _excess(self, ms: float) -> float:
        return 0.0 if self._budget_ms is None else ms / self._budget_ms - 1
