"""`build` and `deploy`: what is built runs, trains, and deploys to the same function."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn

from searchspace import SearchSpace, build, deploy, zoo

TINY = [SearchSpace.load("tiny").sample(np.random.default_rng(seed)) for seed in range(8)]
SMALL = ["shvit_s1", "efficientmod_xxs", "swiftformer_xs", "efficientvit_b0"]


@pytest.mark.parametrize("architecture", TINY, ids=lambda a: a.digest())
def test_logits_of_any_number_of_classes(architecture):
    x = torch.randn(3, 3, architecture.resolution, architecture.resolution)
    for classes in (1, 7):
        network = build(architecture, num_classes=classes).eval()
        assert network.num_classes == classes
        assert network.architecture == architecture
        assert network(x).shape == (3, classes)


@pytest.mark.parametrize("architecture", TINY, ids=lambda a: a.digest())
def test_deployed_network_is_the_same_function(architecture, randomised):
    network = randomised(build(architecture, num_classes=9)).eval()
    x = torch.randn(2, 3, architecture.resolution, architecture.resolution)
    with torch.no_grad():
        expected = network(x)
        found = deploy(network)(x)
    assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize(
    "name", [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in zoo.names()]
)
def test_published_networks_deploy_to_the_same_function(name, randomised):
    network = randomised(build(zoo.load(name))).eval()
    side = network.architecture.resolution
    x = torch.randn(1, 3, side, side)
    with torch.no_grad():
        expected = network(x)
        found = deploy(network)(x)
    assert (found - expected).norm() <= 2e-5 * expected.norm()
    kinds = {type(m) for m in deploy(network).modules()}
    assert nn.BatchNorm2d not in kinds
    assert nn.BatchNorm1d not in kinds


def test_deploying_leaves_the_network_alone(randomised):
    network = randomised(build(TINY[0])).train()
    before = copy.deepcopy(network.state_dict())
    deployed = deploy(network)
    with torch.no_grad():
        for parameter in deployed.parameters():
            parameter.zero_()
    assert network.training
    assert list(network.state_dict()) == list(before)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_families_mix_between_stages():
    """Every pair of neighbouring blocks, whatever their layouts."""
    space = SearchSpace.load("mobile")
    seen = set()
    for seed in range(400):
        architecture = space.sample(np.random.default_rng(seed))
        types = [stage.blocks[0].type for stage in architecture.stages]
        seen.update(itertools.pairwise(types))
    assert len(seen) >= 40


def test_state_travels_between_equal_networks():
    first, second = build(TINY[1], 5).eval(), build(TINY[1], 5).eval()
    second.load_state_dict(first.state_dict())
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(first(x), second(x))


def test_seeded_initialisation_is_reproducible():
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        states.append(build(TINY[2]).state_dict())
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())
