"""The starts that the shipped law is compared with."""

import pytest
import torch
from torch import nn

from results.outcome.starts import STARTS
from searchspace import build, zoo
from searchspace.layers import LayerScale, Residual


def started(name, start):
    torch.manual_seed(0)
    network = build(zoo.load(name), 10)
    STARTS[start](network)
    return network


def last_gains(network):
    for module in network.modules():
        if isinstance(module, Residual):
            *_, last = [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]
            yield bool(last.weight.any())


def spreads(network, kind):
    return {float(m.weight.detach().std()) for m in network.modules() if isinstance(m, kind)}


@pytest.mark.parametrize("start", ["shipped", "official", "default_weights"])
def test_residual_branches_of_efficientvit_begin_at_nothing(start):
    assert not any(last_gains(started("efficientvit_b0", start)))


def test_the_old_start_gave_shvit_what_efficientvit_lacked():
    assert all(last_gains(started("efficientvit_b0", "unequal")))
    assert sum(last_gains(started("shvit_s1", "unequal"))) == 4  # around its two patch mergings


def test_official_convolutions_differ_by_family():
    assert max(spreads(started("efficientvit_b0", "official"), nn.Conv2d)) < 0.025
    assert max(spreads(started("swiftformer_xs", "official"), nn.Conv2d)) < 0.025
    assert max(spreads(started("shvit_s1", "official"), nn.Conv2d)) > 0.1
    assert max(spreads(started("efficientmod_xxs", "official"), nn.Conv2d)) > 0.05


def test_default_weights_close_every_layer_scale():
    network = started("swiftformer_xs", "default_weights")
    scales = [m.gamma for m in network.modules() if isinstance(m, LayerScale)]
    assert scales
    assert not any(scale.any() for scale in scales)
