"""Segmentation networks: EfficientViT-Seg against the official code, the head on any backbone."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from searchspace import Architecture, UserError, build, deploy, operators, zoo
from searchspace.architecture import head
from searchspace.fusion import canonical
from searchspace.operators import from_graph, operators_by_unit, peak_bytes
from searchspace.tracing import trace
from searchspace.units import units
from searchspace.zoo.official import official_keys
from tests.fixtures.mixtures import mixture

# From the official code (github.com/mit-han-lab/efficientvit, commit de7d773) at 256x512:
# parameters, fvcore's MACs, a hash of its checkpoint's keys and shapes, and with
# `golden_inputs.weight` as weights 8 of the logits and the standard deviation of all.
OFFICIAL = {
    "efficientvit_seg_b0_cityscapes": (706691, 286269440, "1d71a9fb051c0ba4",
        [0.438477, -0.082819, 0.312305, -0.334216, -0.357536, 0.000513, 0.029699, -0.049415],
        0.1663),
    "efficientvit_seg_b1_ade20k": (4791414, 1575370752, "1f63caa8f0ee92a7",
        [-0.571565, 1.359475, -0.442999, 0.236835, 0.478414, -0.183857, -0.548097, 2.263091],
        1.024045),
    "efficientvit_seg_b1_cityscapes": (4803443, 1600274432, "9990926ba8743a16",
        [0.72588, 0.238547, -0.09417, 0.629364, 0.713522, 0.547066, 1.025977, 0.496987], 0.481737),
    "efficientvit_seg_b2_ade20k": (15293382, 4598292480, "04d9ce8b8953974f",
        [-0.492225, 0.305659, 0.064728, 0.760259, -0.919589, 0.991698, 0.132062, -0.398583],
        1.440718),
    "efficientvit_seg_b2_cityscapes": (15323779, 4660813824, "126cace35112ca29",
        [-0.148497, -0.244761, 0.464878, -0.179055, -0.454658, 0.601126, 0.459834, 0.846411],
        0.748624),
    "efficientvit_seg_b3_ade20k": (39546198, 11183161344, "d465cef70b2a075a",
        [-7.515284, -6.37956, 8.115602, -24.633644, -7.108395, -10.25487, 30.274759, 15.003298],
        15.679655),
    "efficientvit_seg_b3_cityscapes": (39603155, 11300077568, "5573b7d94cf34c28",
        [-4.013608, -4.592321, -2.570535, -8.12574, -8.151775, -4.329598, 13.299491, -8.643269],
        9.917679),
}  # fmt: skip
SIZE = (256, 512)
EVERY = [n if "b3" not in n else pytest.param(n, marks=pytest.mark.slow) for n in OFFICIAL]
GOLDEN = ("efficientvit_seg_b0_cityscapes", "efficientvit_seg_b1_ade20k",
          "efficientvit_seg_b2_cityscapes")  # fmt: skip


@pytest.fixture(scope="module")
def inputs(data):
    spec = importlib.util.spec_from_file_location("inputs", data / "zoo" / "golden_inputs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def loaded(name, inputs):
    """A published network whose official checkpoint follows from its keys alone."""
    network = build(zoo.load(name))
    own = network.state_dict()
    return zoo.load_official(
        name,
        {
            theirs: torch.from_numpy(np.asarray(inputs.weight(theirs, tuple(own[ours].shape))))
            for ours, theirs in official_keys(network, zoo.load(name)).items()
        },
    )


def image():
    drawn = np.random.default_rng(20240205).standard_normal((1, 3, *SIZE))
    return torch.from_numpy(drawn.astype(np.float32))


def with_head(architecture, **options):
    return replace(architecture, head=head("efficientvit_seg", **options))


def test_the_zoo_has_them_beside_the_classifiers():
    assert set(zoo.names(task="segmentation")) == set(OFFICIAL)
    assert len(zoo.names()) == 16
    assert set(zoo.names(task=None)) == {*zoo.names(), *OFFICIAL}
    with pytest.raises(UserError, match="task: 'depth' is unknown; use one of classification"):
        zoo.names(task="depth")


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_and_macs_are_the_official_ones(name):
    params, macs, _, _, _ = OFFICIAL[name]
    architecture = zoo.load(name)
    assert architecture.task == "segmentation"
    with torch.device("meta"):
        network = build(architecture)
    assert sum(p.numel() for p in network.parameters()) == params
    listed = operators(replace(architecture, resolution=SIZE))
    assert sum(o.params for o in listed) == params
    assert sum(o.macs for o in listed) == pytest.approx(macs, rel=0.01)


@pytest.mark.parametrize("name", OFFICIAL)
def test_keys_are_the_official_ones(name):
    with torch.device("meta"):
        network = build(zoo.load(name))
    keys = official_keys(network, zoo.load(name))
    listed = sorted((keys[key], list(value.shape)) for key, value in network.state_dict().items())
    assert hashlib.sha256(json.dumps(listed).encode()).hexdigest()[:16] == OFFICIAL[name][2]


@pytest.mark.parametrize("name", EVERY)
def test_official_weights_give_the_official_logits(name, inputs):
    *_, expected, spread = OFFICIAL[name]
    network = loaded(name, inputs)
    with torch.no_grad():
        logits = network(image())
    assert logits.shape == (1, zoo.load(name).num_classes, SIZE[0] // 8, SIZE[1] // 8)
    at = np.random.default_rng(0).integers(0, logits.numel(), 8)
    found = logits.flatten()[torch.from_numpy(at)].numpy()
    assert np.abs(found - expected).max() <= 1e-4 * spread


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_logits(name, inputs, data):
    golden = json.loads((data / "zoo" / "golden_seg.json").read_text())[name]
    network = loaded(name, inputs)
    keys = official_keys(network, zoo.load(name))
    shapes = {keys[key]: list(value.shape) for key, value in network.state_dict().items()}
    assert shapes == golden["keys"]
    with torch.no_grad():
        logits = network(image())
    assert list(logits.shape) == golden["out"]
    found = logits.flatten()[golden["indices"]].numpy()
    assert np.abs(found - golden["logits"]).max() <= 1e-4 * golden["logits_std"]


@pytest.mark.parametrize("stride", [2, 4, 8, 16])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"depth": 0, "final_expansion": 0, "stages": 1},
        {"stages": 2, "expansion": 2, "width": 24, "classes": 5},
    ],
)
def test_the_head_stands_on_any_backbone(stride, options, randomised, fvcore_macs):
    backbone = mixture(stride)
    used = backbone.reductions[-options.get("stages", 3)]
    for own in dict.fromkeys((used, max(2, used // 2))):
        architecture = with_head(backbone, stride=own, **options)
        network = randomised(build(architecture)).eval()
        x = torch.randn(1, 3, 128, 192)
        with torch.no_grad():
            logits = network(x)
            assert logits.shape == (1, options.get("classes", 19), 128 // own, 192 // own)
            deployed = deploy(network)(x)
        assert (deployed - logits).norm() <= 1e-5 * logits.norm()
        listed = operators(architecture)
        assert sum(o.params for o in listed) == sum(p.numel() for p in network.parameters())
        assert sum(o.macs for o in listed) == fvcore_macs(network, x.shape)
        assert Architecture.from_dict(architecture.to_dict()) == architecture


def test_it_trains_and_every_lateral_learns():
    network = build(with_head(mixture(4), stride=4), num_classes=3).train()
    logits = network(torch.randn(2, 3, 128, 192))
    assert logits.shape == (2, 3, 32, 48)
    torch.nn.functional.cross_entropy(logits, torch.zeros(2, 32, 48, dtype=torch.int64)).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert all(lateral.conv.conv.weight.grad.any() for lateral in network.laterals)


def test_units_say_what_they_take():
    placed = {p.name: p for p in units(with_head(mixture(4), stride=4))}
    assert placed["head"].sources == ("laterals.0", "laterals.1", "laterals.2")
    assert placed["laterals.0.layout"].sources == ("stages.0.blocks.1",)
    assert placed["laterals.0"].sources == ()
    assert placed["laterals.1"].sources == ("stages.1.blocks.1",)
    assert placed["head"].unit.inputs == 3


@pytest.mark.parametrize(
    ("stride", "options", "resolution", "message"),
    [
        (4, {"stages": 4}, 128, r"head.stages: 4 given, the network has 3; use as many at most"),
        (4, {"stride": 8}, 128, r"head.stride: 8 is coarser than the map of stage 1, whose stride"),
        (4, {"stride": 3}, 128, r"head.stride: 3 is not a power of two; 4 would do"),
        (4, {"stride": 4}, (100, 200), r"at 100x200 the maps of strides 4, 8, 16.*112x208 would"),
        (16, {"stride": 16}, 200, r"differ in size; 256 would do"),
    ],
)
def test_what_cannot_be_added_up_is_refused_with_what_would_do(
    stride, options, resolution, message
):
    backbone = replace(mixture(stride), resolution=resolution)
    with pytest.raises(UserError, match=message) as caught:
        with_head(backbone, **options)
    assert "\n" not in str(caught.value)


def test_a_size_at_which_maps_fit_by_rounding_is_taken():
    """255 pixels make maps of 64, 32 and 16 tokens, as 256 do."""
    architecture = replace(with_head(mixture(4), stride=4), resolution=255)
    assert build(architecture).eval()(torch.randn(1, 3, 255, 255)).shape[2:] == (64, 64)


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_maps_kept_for_the_head_count_as_alive(stride):
    architecture = with_head(mixture(stride), stride=2, width=8)
    graph = canonical(trace(deploy(build(architecture)), (1, 3, 128, 192)))
    whole = from_graph(graph, "train")
    for placed, own in operators_by_unit(architecture):
        of_whole = [o for o in whole if o.name.startswith(f"{placed.name}/")]
        if of_whole:
            assert peak_bytes(own) == pytest.approx(peak_bytes(of_whole), rel=0.02), placed.name
