"""The sampler in plain Optuna: Optuna's own contract, and what it is for."""

import optuna
import pytest
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase

import effsearch
from effsearch.accuracy.registry import load_source
from effsearch.latency import DeviceTable
from effsearch.search.planner import published
from searchspace import SearchSpace, UserError

optuna.logging.set_verbosity(optuna.logging.WARNING)


class TestOptunasContract(BasicSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self):
        return lambda: effsearch.SpaceSampler("tiny", startup_trials=3, seed=1)


def best_of(sampler, space, trials, seed=0, within=None):
    score, table = load_source("macs"), DeviceTable.load("iphone12")

    def objective(trial):
        network = space.suggest(trial)
        if within is not None and table.predict(network).quantile(0.8) > within:
            return 0.0
        return score.score(network).score

    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.optimize(objective, n_trials=trials)
    return study


def test_it_begins_with_the_published_networks_and_finds_more_than_chance():
    space = SearchSpace.load("small")
    sampler = effsearch.SpaceSampler(space, table="iphone12", budget_ms=1.2)
    ours = best_of(sampler, space, 150, within=1.2)
    chance = best_of(optuna.samplers.RandomSampler(seed=0), space, 150, within=1.2)
    table = DeviceTable.load("iphone12")
    known = {c.digest: c.architecture for c in published(space) if c.member}
    known = [a for a in known.values() if table.predict(a).quantile(0.8) <= 1.2]
    assert known
    suggested = [space.suggest(optuna.trial.FixedTrial(t.params)) for t in ours.trials]
    assert suggested[: len(known)] == known
    assert ours.best_value > chance.best_value
    over = [t for t in ours.trials[60:] if t.value == 0]
    assert len(over) < 5  # latency is free: what exceeds the budget isn't proposed


def test_same_seed_same_trials_and_no_network_twice():
    space = SearchSpace.load("small")

    def trials(seed):
        return [
            t.params for t in best_of(effsearch.SpaceSampler(space, seed=seed), space, 80).trials
        ]

    first = trials(3)
    assert first == trials(3)
    assert first != trials(4)
    assert len({str(sorted(p.items())) for p in first}) == len(first)


def test_it_learns_from_trials_that_others_made_and_leaves_foreign_ones():
    space = SearchSpace.load("tiny")
    study = best_of(optuna.samplers.RandomSampler(seed=0), space, 40)
    study.add_trial(
        optuna.trial.create_trial(
            params={"lr": 0.1},
            distributions={"lr": optuna.distributions.FloatDistribution(0, 1)},
            value=1e12,
        )
    )
    study.sampler = effsearch.SpaceSampler(space, startup_trials=0)
    study.optimize(lambda t: t.suggest_float("lr", 0, 1) + space.suggest(t).depth, n_trials=5)
    assert all(set(t.params) - {"lr"} <= set(space.axes) for t in study.trials[-5:])


def test_wrong_arguments_are_told():
    with pytest.raises(UserError, match="budget_ms"):
        effsearch.SpaceSampler("tiny", budget_ms=2)
    with pytest.raises(UserError, match="no such space"):
        effsearch.SpaceSampler("tinny")
    with pytest.raises(AttributeError, match="Sampler"):
        effsearch.Sampler  # noqa: B018
