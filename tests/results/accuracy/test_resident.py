import pytest
import torch
from torch import nn

from effsearch.training.data.pixels import Pixels
from effsearch.training.order import epoch_order
from effsearch.training.step import Step
from results.accuracy.resident import ResidentLoop


def losses(recipe, device, loops):
    """Mean losses of four epochs on 60 noisy images of three colours; a last batch is partial."""
    torch.manual_seed(0)
    labels = torch.arange(65) % 3
    images = torch.randint(40, (65, 3, 16, 16), dtype=torch.uint8)
    images[torch.arange(65), labels] += 100
    network = nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.GELU(), nn.Flatten(), nn.LazyLinear(3))
    network(torch.zeros(1, 3, 16, 16))
    generator = None if device.type == "cuda" else torch.Generator().manual_seed(0)
    step = Step(network.to(device), recipe, 3, 20, device, generator)
    return loops(step, Pixels(images, labels, ("a", "b", "c")).to(device))


def resident(capture):
    def loops(step, data):
        loop = ResidentLoop(step, data, capture=capture)
        return [loop.epoch(epoch_order(65, 0, epoch), 16) for epoch in range(4)]

    return loops


def plain(step, data):
    means = []
    for epoch in range(4):
        step.loss_sum.zero_()
        for batch in epoch_order(65, 0, epoch)[:60].split(12):
            step.run(data.images[batch], data.labels[batch], 16)
        means.append(float(step.loss_sum) / 5)
    return means


def test_the_loop_takes_the_batches_of_the_order(quick):
    cpu = torch.device("cpu")
    assert losses(quick, cpu, resident(True)) == losses(quick, cpu, plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_captured_step_learns_like_an_eager_one(quick):
    device, recipe = torch.device("cuda"), quick.replace(precision="float32")
    eager, captured = (losses(recipe, device, resident(capture)) for capture in (False, True))
    assert eager == pytest.approx(captured, rel=0.05)
