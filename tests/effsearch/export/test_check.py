"""The parity check: passes what is right, and notices what is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from effsearch.errors import WorkFailedError
from effsearch.export.check import TOLERANCE, check_onnx, randomise, require_parity
from effsearch.onnx_io.onnx_files import to_onnx
from searchspace import SearchSpace, build, zoo
from searchspace.architecture import head
from tests.fixtures.mixtures import mixture


def make(architecture, seed=0, classes=20):
    torch.manual_seed(seed)
    network = build(architecture, num_classes=classes)
    randomise(network, seed)
    return network


@pytest.mark.parametrize("classes", [1, 2, 3, 4, 20])
@pytest.mark.parametrize("seed", range(4))
def test_sampled_networks_agree(seed, classes):
    architecture = SearchSpace.load("tiny").sample(np.random.default_rng(seed))
    network = make(architecture, seed, classes)
    assert check_onnx(network, to_onnx(network), seed) <= TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", zoo.names())
def test_published_networks_agree(name):
    network = make(zoo.load(name))
    assert check_onnx(network, to_onnx(network)) <= TOLERANCE


@pytest.mark.parametrize("classes", [1, 2, 4, 20])
def test_every_weight_of_the_file_matters(classes):
    """A change in any of the file's weights shows: nothing is silenced by a zero gain."""
    network = make(SearchSpace.load("tiny").sample(np.random.default_rng(3)), classes=classes)
    model = to_onnx(network)
    weights = [t for t in model.graph.initializer if numpy_helper.to_array(t).size > 16]
    assert len(weights) > 5
    for tensor in weights:
        changed = onnx.ModelProto()
        changed.CopyFrom(model)
        target = next(t for t in changed.graph.initializer if t.name == tensor.name)
        array = numpy_helper.to_array(target).copy()
        if array.dtype != np.float32:
            continue
        target.CopyFrom(numpy_helper.from_array(-array, tensor.name))
        assert check_onnx(network, changed) > TOLERANCE, tensor.name


def test_randomised_weights_have_no_zeros_and_no_fresh_statistics():
    network = make(zoo.load("shvit_s1"))
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1 and not name.endswith("bias"):
            assert parameter.min() >= 0.5, name
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            assert not torch.equal(buffer, torch.ones_like(buffer))
        if name.endswith("running_mean"):
            assert buffer.abs().max() > 0


def test_the_check_leaves_the_network_in_its_mode():
    network = make(SearchSpace.load("tiny").sample(np.random.default_rng(0)))
    network.train()
    before = {k: v.clone() for k, v in network.state_dict().items()}
    check_onnx(network, to_onnx(network))
    assert network.training
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())


@pytest.mark.parametrize("error", [2 * TOLERANCE, float("nan"), float("inf")])
def test_an_export_that_differs_is_refused(error):
    with pytest.raises(WorkFailedError, match="differ"):
        require_parity("net", error)
    require_parity("net", TOLERANCE / 2)


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
def test_maps_and_masks_of_mixtures_agree(stride):
    architecture = mixture(stride)
    wanted = head("efficientvit_seg", stride=stride, stages=2, classes=5)
    backbone = build(architecture, features_only=True)
    for network in (backbone, build(replace(architecture, head=wanted))):
        randomise(network)
        assert check_onnx(network, to_onnx(network)) <= TOLERANCE


def test_a_wrong_map_among_right_ones_shows():
    backbone = build(mixture(4), features_only=True)
    randomise(backbone)
    model = to_onnx(backbone)
    with torch.no_grad():
        backbone.stages[2].blocks[0].local.branch.project.norm.weight[0] *= 2
    assert check_onnx(backbone, model) > TOLERANCE
