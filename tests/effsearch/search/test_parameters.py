from __future__ import annotations

import numpy as np
import optuna
import pytest

from effsearch.search.parameters import enumerate_space, from_params, to_params
from searchspace import SearchSpace, UserError, zoo


@pytest.mark.parametrize("name", ["tiny", "supernet", "mobile"])
def test_parameters_round_trip_and_are_valid_for_optuna(name):
    space = SearchSpace.load(name)
    rng = np.random.default_rng(0)
    study = optuna.create_study(storage=None, directions=["maximize", "minimize"])
    for _ in range(50):
        architecture = space.sample(rng)
        params, distributions = to_params(space, architecture)
        assert from_params(space, params) == architecture
        assert set(params) <= set(space.axes)
        trial = optuna.create_trial(values=[1, 1], params=params, distributions=distributions)
        study.add_trial(trial)


def test_a_network_outside_the_space_has_no_parameters(tiny):
    with pytest.raises(UserError, match="not in"):
        to_params(tiny, zoo.load("shvit_s1"))


def test_a_value_that_the_space_lacks_is_named(tiny):
    with pytest.raises(UserError, match=r"stage1.width: 99"):
        from_params(tiny, {"stage1.width": 99})


def test_enumeration_gives_every_member_once(tiny):
    found = list(enumerate_space(tiny))
    assert len(found) == tiny.size() == len({a.digest() for a in found})
    assert all(a in tiny for a in found)


def test_sizes_are_integers_and_take_little_room_in_the_study():
    space = SearchSpace.load("mobile")
    params, distributions = to_params(space, zoo.load("shvit_s2"))
    assert params["stage2.width"] == 308
    assert isinstance(distributions["stage2.width"], optuna.distributions.IntDistribution)
    assert isinstance(distributions["stage2.block"], optuna.distributions.CategoricalDistribution)
    with pytest.raises(UserError, match=r"stage2.width: 309"):
        from_params(space, {**params, "stage2.width": 309})
