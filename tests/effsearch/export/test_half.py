"""What makes networks ready for half precision changes nothing but the numbers on the way."""

import numpy as np
import onnx
import pytest
import torch

from effsearch.errors import WorkFailedError
from effsearch.export.check import check_onnx, randomise
from effsearch.export.half import TOLERANCE, drift, for_half, to_half
from effsearch.onnx_io.onnx_files import to_onnx
from searchspace import SearchSpace, build, zoo
from searchspace.blocks.additive_attention.module import AdditiveAttention
from searchspace.blocks.lite_mla.module import LiteMLA
from searchspace.half_precision import LEAST, factor_to, float16, half_ready


def images(network, scale=1.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(1, 3, *2 * [network.architecture.resolution], generator=generator)


def random_network(architecture, seed=0):
    torch.manual_seed(seed)
    network = build(architecture, 20).eval()
    randomise(network, seed)
    return network


def spread_error(found, expected):
    return float((found - expected).abs().max() / expected.std())


@pytest.mark.parametrize(
    "name", ["efficientvit_b0", "swiftformer_xs", "efficientmod_xxs", "shvit_s1"]
)
def test_the_function_stays_and_float16_holds_it(name):
    network = random_network(zoo.load(name))
    ready = half_ready(network, images(network, seed=1))
    seen = images(network)
    with torch.no_grad():
        assert spread_error(ready(seen), network(seen)) < 1e-3
    assert drift(network, ready, seen) < TOLERANCE


@pytest.mark.parametrize("seed", range(6))
def test_mixtures_too(seed):
    network = random_network(SearchSpace.load("small").sample(np.random.default_rng(seed)), seed)
    ready = half_ready(network, images(network, seed=1))
    assert drift(network, ready, images(network)) < TOLERANCE


@pytest.mark.parametrize("scale", [1e-2, 940.0])
def test_attention_of_any_magnitude_is_safe_and_was_not(scale):
    """Weights under which the network as it is gives no numbers or wrong ones in float16."""
    network = random_network(zoo.load("efficientvit_b1"))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, LiteMLA):
                module.qkv.weight.mul_(scale)
                module.project.conv.weight.div_(scale)
    seen = images(network)
    assert not drift(network, network, seen) < TOLERANCE
    assert drift(network, half_ready(network, images(network, seed=1)), seen) < TOLERANCE


@pytest.mark.parametrize("scale", [1e-4, 1e3])
def test_unit_lengths_of_any_magnitude_are_safe_and_were_not(scale):
    network = random_network(zoo.load("swiftformer_xs"))
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, AdditiveAttention):
                for linear in (module.query, module.key):
                    linear.weight.mul_(scale)
                    linear.bias.mul_(scale)
    seen = images(network)
    assert not drift(network, network, seen) < TOLERANCE
    assert drift(network, half_ready(network, images(network, seed=1)), seen) < TOLERANCE


def test_images_of_other_magnitudes_than_those_looked_at_are_safe():
    network = random_network(zoo.load("efficientvit_b1"))
    ready = half_ready(network, images(network, seed=1))
    for scale in (0.1, 5.0):
        assert drift(network, ready, images(network, scale)) < TOLERANCE


def test_dead_attention_gives_zeros_and_no_nan():
    attention = LiteMLA(16, 2, 8, (5,)).eval()
    with torch.no_grad():
        attention.qkv.weight.zero_()
        x = torch.randn(1, 16, 6, 6)
        attention.rescale(x)
        assert torch.isfinite(attention(x)).all()
        assert attention.epsilon == LEAST


def test_the_network_itself_is_left_as_it_is():
    network = random_network(zoo.load("efficientvit_b0"))
    before = {key: value.clone() for key, value in network.state_dict().items()}
    half_ready(network, images(network))
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(not module._forward_pre_hooks for module in network.modules())


def test_factors_are_powers_of_two_that_meet_their_target():
    magnitudes = torch.tensor([0.0, 1e-3, 0.9, 3.0, 500.0])
    factors = factor_to(torch.tensor(2.0), magnitudes)
    assert torch.equal(torch.log2(factors), torch.log2(factors).round())
    assert factors[0] == 1
    reached = (factors * magnitudes)[1:]
    assert ((reached <= 2) & (reached > 1)).all()


def test_float16_takes_subnormals_for_zero_and_overflows():
    values = torch.tensor([1e-5, LEAST, 1.0, 1 / 3, 7e4])
    assert float16(values).tolist() == [0, LEAST, 1, 0.333251953125, float("inf")]


def test_a_network_that_float16_cannot_hold_is_refused():
    network = random_network(SearchSpace.load("tiny").sample(np.random.default_rng(0)))
    for_half(network, trained=True, what="net.onnx")
    biases = [p for name, p in network.named_parameters() if name.endswith("bias")]
    with torch.no_grad():
        biases[-1].add_(3e3)  # float16 is coarse there
        with pytest.raises(WorkFailedError, match=r"^net.onnx: not written: float16 moves outputs"):
            for_half(network, trained=True, what="net.onnx")
        biases[-1].add_(1e6)
        with pytest.raises(WorkFailedError, match=r"float16 m.*; use --precision float32$"):
            for_half(network, trained=True, what="net.onnx")


def test_an_onnx_file_in_float16_takes_and_gives_float32():
    network = random_network(zoo.load("efficientvit_b0"))
    half = for_half(network, trained=True, what="net.onnx")
    model, plain = to_half(to_onnx(half.network)), to_onnx(network)
    kinds = {t.data_type for t in model.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16, onnx.TensorProto.INT64}
    assert len(model.SerializeToString()) < 0.55 * len(plain.SerializeToString())
    for value in (model.graph.input[0], model.graph.output[0]):
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert check_onnx(network, model) < TOLERANCE
