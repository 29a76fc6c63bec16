from dataclasses import replace

import numpy as np
import pytest
import torch

from effsearch.export.check import randomise
from effsearch.onnx_io.static import StaticNetwork
from searchspace import SearchSpace, build, zoo
from searchspace.architecture import head
from tests.fixtures.mixtures import mixture

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


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_maps_and_masks_of_rectangles_are_the_same(stride):
    """Bicubic interpolation is spelled out as products there."""
    architecture = mixture(stride)
    wanted = head("efficientvit_seg", stride=2, stages=3, classes=5)
    backbone = build(architecture, features_only=True).eval()
    segmenter = build(replace(architecture, head=wanted)).eval()
    image = torch.randn(1, 3, *architecture.resolution)
    for network in (backbone, segmenter):
        randomise(network)
        with torch.no_grad():
            expected, found = network(image), StaticNetwork(network).eval()(image)
        if network is segmenter:
            expected, found = [expected], [found]
        for one, other in zip(found, expected, strict=True):
            assert (one - other).abs().max() < 1e-4 * other.std()
