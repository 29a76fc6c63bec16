import numpy as np
import pytest
import torch

from effsearch.export.check import randomise
from effsearch.onnx_io.static import StaticNetwork
from searchspace import SearchSpace, build, zoo

SPACE = SearchSpace.load("mobile")
SAMPLES = [SPACE.sample(np.random.default_rng(seed)) for seed in range(4)]


@pytest.mark.parametrize(
    "architecture",
    [*(zoo.load(n) for n in ("shvit_s1", "efficientmod_xxs", "efficientvit_b0")), *SAMPLES],
    ids=lambda a: a.name or a.digest(),
)
def test_the_static_form_computes_the_same(architecture):
    network = build(architecture, num_classes=10).eval()
    randomise(network)
    image = torch.randn(1, 3, architecture.resolution, architecture.resolution)
    with torch.no_grad():
        expected, found = network(image), StaticNetwork(network).eval()(image)
    assert (found - expected).abs().max() < 1e-4 * expected.std()
