"""How networks begin."""

import math
import re

import pytest
import torch
from torch import nn

from searchspace import build, zoo
from searchspace.layers import ConvNormAct, LayerScale, Residual
from searchspace.start import WEIGHT_STD

PUBLISHED = ["shvit_s1", "efficientvit_b0", "efficientmod_xxs", "swiftformer_xs"]


@pytest.fixture(scope="module", params=PUBLISHED)
def network(request):
    torch.manual_seed(0)
    return build(zoo.load(request.param), 100)


def test_all_weights_follow_one_law_and_biases_are_zero(network):
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        count = layer.weight.numel()
        assert float(layer.weight.detach().std()) == pytest.approx(
            WEIGHT_STD, rel=5 / math.sqrt(2 * count)
        )
        assert layer.bias is None or not layer.bias.any()


def test_residual_branches_begin_at_or_near_nothing(network):
    x = torch.randn(4, 3, 64, 64)
    seen = []

    def look(module, inputs, output):
        change = (output - inputs[0]).std() / inputs[0].std()
        seen.append(float(change.detach()))

    for name, module in network.named_modules():
        if isinstance(module, Residual) or re.fullmatch(r"stages\.\d+\.blocks\.\d+", name):
            module.register_forward_hook(look)
    with torch.no_grad():
        network.train()(x)
    assert len(seen) >= 8
    assert max(seen) < 0.3


def test_a_norm_that_ends_a_residual_branch_has_no_gain(network):
    for module in network.modules():
        if isinstance(module, Residual):
            *_, last = [m for m in module.modules() if isinstance(m, ConvNormAct)]
            assert not last.norm.weight.any()


def test_layer_scales_begin_as_published():
    scales = {
        name: {
            round(float(m.gamma.detach().mean()), 6)
            for m in build(zoo.load(name)).modules()
            if isinstance(m, LayerScale)
        }
        for name in ("efficientmod_xxs", "swiftformer_xs")
    }
    assert scales == {"efficientmod_xxs": {1e-4}, "swiftformer_xs": {1.0, 1e-5}}


def test_gradients_reach_the_first_weights_after_a_step(network):
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    x, y = torch.randn(8, 3, 64, 64), torch.arange(8)
    for _ in range(2):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(x), y).backward()
        optimizer.step()
    gradients = [p.grad for p in network.parameters() if p.ndim == 4]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert float(gradients[0].abs().max()) > 0
