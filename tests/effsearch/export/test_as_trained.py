"""Networks that are timed make no subnormal numbers, for which some processors take far longer."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from effsearch.export.as_trained import as_trained
from effsearch.onnx_io.onnx_files import to_onnx
from searchspace import Network, build, zoo
from searchspace.resolution import height_width

LEAST = float(np.finfo(np.float32).smallest_normal)


def subnormals(network: Network) -> int:
    """Returns how many of the results of a network's operators are subnormal, for one image."""
    model = to_onnx(network)
    del model.graph.output[:]
    model.graph.output.extend(
        onnx.ValueInfoProto(name=name) for node in model.graph.node for name in node.output
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = (1, 3, *height_width(network.architecture.resolution))
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    results = session.run(None, {"input": image})
    assert all(np.isfinite(found).all() for found in results)
    return sum(int(((found != 0) & (abs(found) < LEAST)).sum()) for found in results)


@pytest.mark.parametrize(
    "name", ["efficientvit_b0", "efficientmod_xxs", "shvit_s1", "swiftformer_xs"]
)
def test_a_timed_network_makes_no_subnormal_numbers(name: str) -> None:
    assert subnormals(as_trained(zoo.load(name))) == 0


def test_a_network_as_training_begins_it_does() -> None:
    torch.manual_seed(0)
    assert subnormals(build(zoo.load("efficientvit_b0")).eval()) > 1000


def test_the_same_seed_gives_the_same_weights_and_leaves_other_draws_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    one, other, third = (as_trained(zoo.load("shvit_s1"), seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(4), expected)
    weights = [next(network.parameters()) for network in (one, other, third)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
