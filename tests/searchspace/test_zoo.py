"""The published networks: counted, placed in the default space, loaded from official weights."""

from __future__ import annotations

import importlib.util
import json
from functools import lru_cache

import numpy as np
import pytest
import torch

from searchspace import SearchSpace, UserError, build, operators, zoo
from searchspace.zoo.official import official_keys

# Parameters and fvcore MACs of the official code (a BN counts 2 a value, LN and GN 5).
PUBLISHED = {
    "shvit_s1": (6330808, 244114048),
    "shvit_s2": (11483072, 368636144),
    "shvit_s3": (14245273, 605276901),
    "shvit_s4": (16588484, 993746816),
    "efficientmod_xxs": (4736264, 560884992),
    "efficientmod_xs": (6627544, 715225440),
    "efficientmod_s": (12897184, 1324722024),
    "efficientmod_s_conv": (12872336, 1478400776),
    "swiftformer_xs": (3475360, 605483572),
    "swiftformer_s": (6092128, 988135904),
    "swiftformer_l1": (12057920, 1600353792),
    "swiftformer_l3": (28494736, 4014991104),
    "efficientvit_b0": (3410008, 104190976),
    "efficientvit_b1": (9102024, 528153920),
    "efficientvit_b2": (24330712, 1602713088),
    "efficientvit_b3": (48646056, 3985332992),
}
# Digests name trials, results and winners: what they name may not change.
DIGESTS = {
    "shvit_s1": "1df44d66bfd19330",
    "shvit_s2": "a2c452cc7b26a15c",
    "shvit_s3": "4e883ad2a00a7cf0",
    "shvit_s4": "b23db80a9b87a3d5",
    "efficientmod_xxs": "f052778a16029c86",
    "efficientmod_xs": "b01aa01589ca8d10",
    "efficientmod_s": "1fee6a25dc42ee6d",
    "efficientmod_s_conv": "567241c6aecc54e5",
    "swiftformer_xs": "9c02530db16541f1",
    "swiftformer_s": "8524f504aa7c0ed7",
    "swiftformer_l1": "504cf40969e89cce",
    "swiftformer_l3": "4fd6ab713b8e714d",
    "efficientvit_b0": "31ff1a3896c83906",
    "efficientvit_b1": "e06b654a9a467b35",
    "efficientvit_b2": "a2960d6662200b72",
    "efficientvit_b3": "cfbd6ab9097157d8",
}
FAST = ("shvit_s1", "efficientmod_xxs", "swiftformer_xs", "efficientvit_b0")


@pytest.fixture(scope="module")
def mobile():
    return SearchSpace.load("mobile")


def test_the_names_are_the_16():
    assert set(zoo.names()) == set(PUBLISHED)


def test_digests_stay_what_they_were():
    assert {name: zoo.load(name).digest() for name in DIGESTS} == DIGESTS


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_the_published_ones_to_the_unit(name):
    with torch.device("meta"):
        network = build(zoo.load(name))
    assert sum(p.numel() for p in network.parameters()) == PUBLISHED[name][0]
    assert sum(o.params for o in operators(zoo.load(name))) == PUBLISHED[name][0]


@pytest.mark.parametrize("name", PUBLISHED)
def test_macs_are_the_published_ones(name):
    assert sum(o.macs for o in operators(zoo.load(name))) == pytest.approx(
        PUBLISHED[name][1], rel=0.01
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_default_space_holds_it(name, mobile):
    architecture = zoo.load(name)
    assert architecture in mobile
    assert mobile.decode(mobile.encode([architecture])[0]) == architecture


def test_the_table_above_is_the_published_one(data):
    rows = (data / "published" / "seeds.csv").read_text().splitlines()
    assert len(rows) == 17
    for row in rows[1:]:
        name, _, resolution, params, macs, *_ = row.split(",")
        assert PUBLISHED[name] == (int(params), int(macs))
        assert zoo.load(name).resolution == int(resolution)


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(UserError, match="did you mean shvit_s1"):
        zoo.load("shvit_s11")
    with pytest.raises(UserError, match="known: efficientmod_s"):
        zoo.load("resnet50")


@lru_cache(maxsize=1)
def golden(data):
    path = data / "zoo" / "golden_inputs.py"
    spec = importlib.util.spec_from_file_location("golden_inputs", path)
    inputs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(inputs)
    return json.loads((data / "zoo" / "golden.json").read_text()), inputs


GOLDEN = [
    "shvit_s1", "shvit_s3", "efficientmod_xxs", "efficientmod_s_conv", "swiftformer_xs",
    "swiftformer_l3", "efficientvit_b0", "efficientvit_b2",
]  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_our_keys_are_the_official_ones(name, data):
    expected = golden(data)[0][name]["keys"]
    network = build(zoo.load(name))
    own = network.state_dict()
    translated = official_keys(network, zoo.load(name))
    assert len(set(translated.values())) == len(translated)
    shapes = {theirs: list(own[ours].shape) for ours, theirs in translated.items()}
    assert shapes == expected


@pytest.mark.parametrize("name", GOLDEN)
def test_official_weights_give_the_official_logits(name, data):
    reference, inputs = golden(data)
    expected = reference[name]
    weights = {
        key: torch.from_numpy(np.asarray(inputs.weight(key, tuple(shape))))
        for key, shape in expected["keys"].items()
    }
    network = zoo.load_official(name, weights)
    assert not network.training
    with torch.no_grad():
        logits = network(torch.from_numpy(inputs.image(expected["resolution"])))
    error = np.abs(logits[:, :16].numpy() - np.asarray(expected["logits"])).max()
    assert error <= 1e-4 * expected["logits_std"]


@pytest.fixture(scope="module", params=FAST)
def checkpoint(request):
    """A network's name and weights under the official keys."""
    torch.manual_seed(1)
    network = build(zoo.load(request.param))
    own = network.state_dict()
    keys = official_keys(network, zoo.load(request.param))
    return request.param, {
        theirs: torch.randn_like(own[ours]) if own[ours].is_floating_point() else own[ours]
        for ours, theirs in keys.items()
    }


def same(network, name, weights):
    keys = official_keys(network, zoo.load(name))
    return all(torch.equal(v, weights[keys[k]]) for k, v in network.state_dict().items())


@pytest.mark.parametrize("wrap", [None, "model", "state_dict"])
def test_weights_may_be_nested(checkpoint, wrap):
    name, weights = checkpoint
    given = weights if wrap is None else {wrap: weights, "epoch": 300, "optimizer": {}}
    assert same(zoo.load_official(name, given), name, weights)


def test_flat_weights_of_pointwise_convolutions_are_expanded(checkpoint):
    name, weights = checkpoint
    flat = {
        k: v[:, :, 0, 0] if v.dim() == 4 and v.shape[2:] == (1, 1) else v
        for k, v in weights.items()
    }
    assert same(zoo.load_official(name, flat), name, weights)


def test_arrays_and_half_precision_are_taken(checkpoint):
    name, weights = checkpoint
    network = zoo.load_official(name, {k: v.numpy() for k, v in weights.items()})
    assert same(network, name, weights)
    halved = zoo.load_official(name, {k: v.half() for k, v in weights.items()})
    assert all(v.dtype != torch.float16 for v in halved.state_dict().values())


def test_a_missing_key_is_named(checkpoint):
    name, weights = checkpoint
    for key in [k for k in weights if not k.endswith("num_batches_tracked")][:: len(weights) // 5]:
        rest = {k: v for k, v in weights.items() if k != key}
        with pytest.raises(UserError) as caught:
            zoo.load_official(name, rest)
        assert f"no key {key!r}" in str(caught.value)


def test_an_extra_key_is_named(checkpoint):
    name, weights = checkpoint
    with pytest.raises(UserError, match=r"unknown key 'aux\.weight'"):
        zoo.load_official(name, weights | {"aux.weight": torch.zeros(1)})
    with pytest.raises(UserError, match="unknown key"):
        zoo.load_official(name, weights | {7: torch.zeros(1), "aux": torch.zeros(1)})


def test_a_misshapen_key_is_named(checkpoint):
    name, weights = checkpoint
    for key, value in list(weights.items())[:: len(weights) // 5]:
        with pytest.raises(UserError) as caught:
            zoo.load_official(name, weights | {key: torch.zeros(3, *value.shape)})
        assert repr(key) in str(caught.value)
        assert str([3, *value.shape]) in str(caught.value)


@pytest.mark.parametrize("value", [None, "text", {"a": 1}])
def test_what_is_no_tensor_is_named(checkpoint, value):
    name, weights = checkpoint
    key = next(iter(weights))
    with pytest.raises(UserError) as caught:
        zoo.load_official(name, weights | {key: value})
    assert repr(key) in str(caught.value)


@pytest.mark.parametrize("given", [None, [1], "weights.pt", {}])
def test_what_is_no_checkpoint_is_said(given):
    with pytest.raises(UserError, match=r"^shvit_s1: "):
        zoo.load_official("shvit_s1", given)
