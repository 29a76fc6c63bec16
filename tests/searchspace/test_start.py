"""How networks begin."""

import math
import re

import pytest
import torch
from torch import nn

from searchspace import build, zoo
from searchspace.layers import ConvNormAct, LayerScale, Residual
from searchspace.start import LAYER_SCALE, WEIGHT_STD

PUBLISHED = ["shvit_s1", "efficientvit_b0", "efficientmod_xxs", "swiftformer_xs"]


@pytest.fixture(scope="module", params=PUBLISHED)
def network(request):
    torch.manual_seed(0)
    return build(zoo.load(request.param), 100)


def before_norms(network):
    return {m.conv for m in network.modules() if isinstance(m, ConvNormAct) and m.norm is not None}


def test_weights_before_norms_and_classifiers_are_small(network):
    head = network.head
    small = [*before_norms(network), head.linear]
    if getattr(head, "distilled", None) is not None:
        small.append(head.distilled)
    for layer in small:
        spread = 5 / math.sqrt(2 * layer.weight.numel())
        assert float(layer.weight.detach().std()) == pytest.approx(WEIGHT_STD, rel=spread)


def test_other_weights_keep_the_size_of_signals_and_biases_are_zero(network):
    small = {*before_norms(network), network.head.linear, getattr(network.head, "distilled", None)}
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.bias is None or not layer.bias.any()
            if layer not in small:
                fan_in = layer.weight[0].numel()
                assert float(layer.weight.detach().abs().max()) <= fan_in**-0.5 + 1e-6
                assert float(layer.weight.detach().std()) > 0.5 * (3 * fan_in) ** -0.5


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


@pytest.mark.parametrize("name", ["efficientmod_xxs", "swiftformer_xs"])
def test_layer_scales_begin_alike_in_all_families(name):
    scales = [m.gamma for m in build(zoo.load(name)).modules() if isinstance(m, LayerScale)]
    assert scales
    assert all((scale == LAYER_SCALE).all() for scale in scales)


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
