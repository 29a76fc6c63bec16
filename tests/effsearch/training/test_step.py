import math

import pytest
import torch
from torch import nn

from effsearch.training.data.pixels import Pixels
from effsearch.training.evaluate import evaluate
from effsearch.training.order import epoch_order, mix_seed
from effsearch.training.step import Step, decay_groups, rate_schedule, soft_cross_entropy
from searchspace import build, zoo

CPU = torch.device("cpu")


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4, bias=False),
        nn.BatchNorm2d(8),
        nn.GELU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def coloured(n=60):
    labels = torch.arange(n) % 3
    images = torch.full((n, 3, 16, 16), 40, dtype=torch.uint8)
    images[torch.arange(n), labels] = 200
    return Pixels(images, labels, ("a", "b", "c"))


def train(step, data, epochs):
    """Train on batches of 12; return the mean loss of every epoch."""
    losses = []
    for epoch in range(epochs):
        step.loss_sum.zero_()
        batches = epoch_order(len(data), 0, epoch).split(12)
        for batch in batches:
            step.run(data.images[batch], data.labels[batch], 16)
        losses.append(float(step.loss_sum) / len(batches))
    return losses


def test_training_learns_and_the_average_follows(quick):
    data, recipe = coloured(), quick.replace(epochs=12, ema_decay=0.8)
    step = Step(network(), recipe, 3, 5, CPU, torch.Generator().manual_seed(0))
    losses = train(step, data, 12)
    assert losses[-1] < losses[0] - 0.2
    own = [p.detach().clone() for p in step.network.parameters()]
    with step.averaged() as averaged:
        result = evaluate(averaged, [(data.images, data.labels)], recipe, CPU)
        assert any(not torch.equal(a, b) for a, b in zip(own, averaged.parameters(), strict=True))
    assert result.top1 > 90
    assert all(torch.equal(a, b) for a, b in zip(own, step.network.parameters(), strict=True))


def test_the_average_starts_fast(quick):
    # After the first step the decay is 1/10: nine tenths of the way to the new weights.
    step = Step(network(), quick.replace(ema_decay=0.999), 3, 5, CPU, torch.Generator())
    before = step.average[0].clone()
    data = coloured()
    step(data.images[:12], data.labels[:12])
    after = next(step.network.parameters()).detach()
    torch.testing.assert_close(step.average[0], before + 0.9 * (after - before))


@pytest.mark.parametrize("factor", [1.0, 0.3])
def test_a_rate_kept_on_the_device_gives_the_same_weights(quick, factor):
    # What CUDA does, on the CPU: rate and counter are tensors that the step itself advances.
    weights = []
    for on_device in (False, True):
        data, net = coloured(), network()
        first, *rest = net.parameters()
        layers = [(1.0, rest), (factor, [first])]
        step = Step(net, quick, 3, 5, CPU, torch.Generator().manual_seed(0), layers=layers)
        if on_device:
            step._on_device = True
            step.optimizer = torch.optim.AdamW(
                [{**group, "fused": True} for group in step.optimizer.param_groups], fused=True
            )
            step._share_rates(step.optimizer)
        train(step, data, 3)
        weights.append([p.detach() for p in net.parameters()])
    for ours, theirs in zip(*weights, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", ["swiftformer_xs", "efficientmod_xxs", "shvit_s1"])
def test_gains_and_biases_are_not_decayed_whatever_their_shape(quick, name):
    with torch.device("meta"):
        parameters = dict(build(zoo.load(name), 3).named_parameters())
    names = {parameter: key for key, parameter in parameters.items()}
    weights, spared = (
        {names[parameter] for parameter in group["params"]}
        for group in decay_groups(parameters.values(), 0.05)
    )
    assert weights | spared == set(parameters)
    assert {key.rsplit(".", 1)[1] for key in weights} == {"weight"}
    assert not [key for key in weights if "norm" in key]
    assert {key.rsplit(".", 1)[1] for key in spared} <= {"weight", "bias", "gamma", "score"}
    assert not [key for key in spared if key.endswith("weight") and "norm" not in key]


def test_a_step_decays_by_its_recipe(quick):
    step = Step(network(), quick, 3, 5, CPU)
    decays = {
        parameter.ndim: group["weight_decay"]
        for group in step.optimizer.param_groups
        for parameter in group["params"]
    }
    assert decays == {4: 0.05, 2: 0.05, 1: 0.0}


def test_rates_warm_up_and_fall(quick):
    recipe = quick.replace(epochs=10, warmup_epochs=2.0, final_rate=0.1, learning_rate=1.0)
    rates = rate_schedule(recipe, 10, 100)
    assert rates[0] == pytest.approx(1 / 21)
    assert max(rates) == pytest.approx(rates[20]) == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1, abs=0.01)
    assert rates[:21] == sorted(rates[:21])
    assert rates[20:] == sorted(rates[20:], reverse=True)


def test_soft_cross_entropy_of_a_uniform_guess():
    targets = torch.tensor([[0.5, 0.5, 0.0, 0.0]])
    assert float(soft_cross_entropy(torch.zeros(1, 4), targets)) == pytest.approx(math.log(4))


def test_distillation_pulls_towards_the_teacher(quick):
    recipe = quick.replace(
        epochs=30, distillation=1.0, mix_probability=0.0, learning_rate=2e-2, label_smoothing=0.0
    )
    data = coloured()

    class Contrary(nn.Module):
        """Sees every image as the class after its own."""

        def forward(self, x):
            return (
                20
                * torch.nn.functional.one_hot(
                    x.mean((2, 3)).argmax(1) + 1 - 3 * (x.mean((2, 3)).argmax(1) == 2), 3
                ).float()
            )

    student = network()
    step = Step(student, recipe, 3, 5, CPU, torch.Generator().manual_seed(0), teacher=Contrary())
    train(step, data, 30)
    wrong = (data.labels + 1) % 3
    assert evaluate(student, [(data.images, wrong)], recipe, CPU).top1 > 90


def test_orders_are_permutations_fixed_by_seed_and_epoch():
    first = epoch_order(50, 1, 2)
    assert sorted(first.tolist()) == list(range(50))
    assert torch.equal(first, epoch_order(50, 1, 2))
    assert not torch.equal(first, epoch_order(50, 1, 3))
    assert not torch.equal(first, epoch_order(50, 2, 2))
    assert len({mix_seed(a, b) for a in range(30) for b in range(30)}) == 900
