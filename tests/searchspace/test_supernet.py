"""The supernet against the stand-alone networks, which are the truth."""

import copy
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import searchspace
from effsearch.search.parameters import enumerate_space
from results.supernet.counts import largest, parameter_count, summary
from searchspace import SearchSpace, UserError, build, zoo
from searchspace.space_file import parse_space
from searchspace.supernet import Supernet
from searchspace.supernet.sharing import are_apart

CLASSES = 7


def randomise(supernet):
    """Gives norms and layer scales random gains, and running statistics random values.

    In float64, where equal sums in another order stay equal to many digits: a norm over a few
    positions makes float32's last digit large.
    """
    supernet.double()
    generator = torch.Generator().manual_seed(1)
    for name, tensor in itertools.chain(supernet.named_parameters(), supernet.named_buffers()):
        if not tensor.is_floating_point():
            continue
        last = name.rsplit(".", 1)[-1]
        if "norm" in name or last in ("gamma", "running_var"):
            with torch.no_grad():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return supernet


def images(seed=0, side=64, count=3):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(seed)).double()


def check_equality(supernet, architecture, x):
    supernet.eval()
    network = supernet.extract(architecture)
    assert not network.training
    with torch.no_grad():
        expected, found = network(x), supernet.activate(architecture)(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    supernet.train()
    network = supernet.extract(architecture)
    assert network.training
    with torch.no_grad():
        expected, found = network(x), supernet(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    # The batch moved the running statistics of both alike.
    after = supernet.extract(architecture).state_dict()
    for key, value in network.state_dict().items():
        torch.testing.assert_close(after[key], value, rtol=0, atol=1e-9, msg=key)


def check_gradients(supernet, architecture, x):
    supernet.train().zero_grad(set_to_none=True)
    network = supernet.extract(architecture)
    target = torch.arange(len(x)) % CLASSES
    torch.nn.functional.cross_entropy(network(x), target).backward()
    torch.nn.functional.cross_entropy(supernet.activate(architecture)(x), target).backward()
    own = {key: parameter.grad for key, parameter in network.named_parameters()}
    inside = {}
    for key, where, shared in supernet.slices(architecture):
        if key not in own:
            continue
        scale = max(1e-3, float(own[key].abs().max()))
        torch.testing.assert_close(
            where.read(shared.grad), own[key], rtol=0, atol=1e-9 * scale, msg=key
        )
        inside[id(shared)] = where.mark(shared.shape)
    for name, parameter in supernet.named_parameters():
        if id(parameter) not in inside:
            assert parameter.grad is None, name
        else:
            assert not parameter.grad[~inside[id(parameter)]].any(), name


def members(space):
    """All architectures of a small space, in no telling order."""
    found = list(enumerate_space(space))
    np.random.default_rng(0).shuffle(found)
    return found


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return randomise(Supernet(SearchSpace.load("tiny"), CLASSES))


@pytest.fixture(scope="module")
def shipped():
    torch.manual_seed(0)
    return randomise(Supernet(SearchSpace.load("supernet"), CLASSES))


@pytest.mark.parametrize("part", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in (1, 2, 3))])
def test_every_tiny_network_equals_its_extract(tiny, part):
    x = images(side=32)
    for architecture in members(tiny.space)[part::4]:
        check_equality(tiny, architecture, x)


def test_gradients_of_tiny_networks_reach_exactly_their_slices(tiny):
    x = images(side=32)
    for architecture in members(tiny.space)[:30]:
        check_gradients(tiny, architecture, x)


def test_shipped_networks_equal_their_extracts(shipped):
    rng = np.random.default_rng(2)
    for _ in range(3):
        architecture = shipped.space.sample(rng)
        check_equality(shipped, architecture, images())
        check_gradients(shipped, architecture, images())


@pytest.mark.slow
def test_50_shipped_networks_equal_their_extracts(shipped):
    rng = np.random.default_rng(3)
    for _ in range(50):
        architecture = shipped.space.sample(rng)
        check_equality(shipped, architecture, images())
        check_gradients(shipped, architecture, images())


@pytest.mark.slow
def test_published_networks_equal_their_extracts():
    space = SearchSpace.load(Path(__file__).parent / "published.yaml")
    supernet = randomise(Supernet(space, CLASSES))
    for name in zoo.names():
        check_equality(supernet, zoo.load(name), images(side=128, count=2))


def test_axes_that_no_shipped_space_varies():
    data = {
        "resolution": 64,
        "stage_count": [1, 2],
        "stem": {"efficientvit": {"stride": [2, 4], "width": [8, 16], "depth": [0, 2]}},
        "blocks": {
            "lite_mla": {"heads": [0], "head_dim": [8, 16], "scales": [[5, 5], [3], [3, 5]]},
            "efficient_mod": {"expansion": [[1, 4, 2], [3]], "kernel": [3, 7]},
            "dsconv": {"kernel": [1, 5]},
        },
        "downsample": {"mbconv": {"expansion": [2, 3], "fewer_norm": [True, False]}},
        "head": {
            "swiftformer": {"distillation": [True, False]},
            "efficientvit": {"conv_width": [16, 24], "linear_width": [8, 40]},
            "efficientmod": {},
        },
        "stages": [
            {"width": [24, 36], "depth": [1, 3], "block": ["efficient_mod", "dsconv"]},
            {"width": [40, 56], "depth": [2], "block": ["lite_mla"], "tail": ["dsconv", "none"]},
        ],
    }
    torch.manual_seed(0)
    space = SearchSpace(parse_space(data, "odd"))
    supernet = randomise(Supernet(space, CLASSES))
    rng = np.random.default_rng(0)
    for _ in range(20):
        architecture = space.sample(rng)
        check_equality(supernet, architecture, images(side=32))
        check_gradients(supernet, architecture, images(side=32))


def two_stems():
    data = yaml.safe_load((Path(searchspace.__file__).parent / "spaces" / "tiny.yaml").read_text())
    data["stem"]["swiftformer"] = {"stride": [8]}
    return SearchSpace(parse_space(data, "two"))


def test_stems_apart_share_nothing_and_equal_their_extracts():
    space = two_stems()
    torch.manual_seed(0)
    apart, shared = (randomise(Supernet(space, CLASSES, stems_apart=a)) for a in (True, False))
    rng = np.random.default_rng(0)
    used = {supernet: {} for supernet in (apart, shared)}
    for _ in range(12):
        architecture = space.sample(rng)
        check_equality(apart, architecture, images(side=32))
        check_gradients(apart, architecture, images(side=32))
        for supernet, found in used.items():
            ids = {id(tensor) for _, _, tensor in supernet.slices(architecture)}
            found.setdefault(architecture.stem.type, set()).update(ids)
    assert set(used[apart]) == {"shvit", "swiftformer"}
    assert not used[apart]["shvit"] & used[apart]["swiftformer"]
    assert used[shared]["shvit"] & used[shared]["swiftformer"]
    assert are_apart(name for name, _ in apart.named_parameters())
    assert not are_apart(name for name, _ in shared.named_parameters())


def test_narrow_networks_use_the_first_channels_of_wide_ones(tiny):
    space = tiny.space
    places = {}
    for architecture in members(space):
        stage = architecture.stages[0]
        if stage.blocks[0].type == "shvit_conv":
            for key, where, shared in tiny.slices(architecture):
                if key == "stages.0.blocks.0.ffn.branch.expand.conv.weight":
                    places[stage.width] = (where.mark(shared.shape), shared)
    narrow, wide = places[16], places[32]
    assert narrow[1] is wide[1]
    assert int(narrow[0].sum()) == 32 * 16
    assert not (narrow[0] & ~wide[0]).any()
    assert narrow[0][:32, :16].all()


def test_gradients_of_several_networks_add_up(tiny):
    rng = np.random.default_rng(4)
    first, second = tiny.space.sample(rng), tiny.space.sample(rng)
    x = images(side=32)

    def gradients(*architectures):
        tiny.train().zero_grad(set_to_none=True)
        for architecture in architectures:
            tiny.activate(architecture)(x).square().mean().backward()
        return {name: p.grad for name, p in tiny.named_parameters() if p.grad is not None}

    a, b, both = gradients(first), gradients(second), gradients(first, second)
    assert both.keys() == a.keys() | b.keys()
    for name, value in both.items():
        expected = sum(g[name] for g in (a, b) if name in g)
        torch.testing.assert_close(value, expected)


def test_statistics_are_left_alone_where_asked(tiny):
    supernet = copy.deepcopy(tiny).train()
    supernet.track_statistics = False
    before = {key: value.clone() for key, value in supernet.named_buffers()}
    architecture = supernet.space.sample(np.random.default_rng(0))
    x = images(side=32)
    y = supernet.activate(architecture)(x)
    torch.testing.assert_close(y, supernet.extract(architecture)(x), rtol=0, atol=1e-9)
    for key, value in supernet.named_buffers():
        assert torch.equal(value, before[key])


def test_copies_and_saved_states_are_independent(tiny):
    architecture = tiny.space.sample(np.random.default_rng(5))
    x = images(side=32)
    tiny.eval()
    expected = tiny.activate(architecture)(x)
    other = copy.deepcopy(tiny)
    fresh = Supernet(tiny.space, CLASSES).double().eval()
    fresh.load_state_dict(tiny.state_dict())
    with torch.no_grad():
        for parameter in tiny.parameters():
            parameter.add_(0.25)
    changed = tiny(x)
    with torch.no_grad():
        for parameter in tiny.parameters():
            parameter.sub_(0.25)
    assert not torch.allclose(changed, expected, atol=1e-3)
    torch.testing.assert_close(other.activate(architecture)(x), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(fresh.activate(architecture)(x), expected, rtol=0, atol=1e-9)
    single = other.float()
    torch.testing.assert_close(single(x.float()).double(), expected, rtol=0, atol=1e-4)


def test_extracted_network_shares_no_memory(tiny):
    architecture = tiny.space.sample(np.random.default_rng(6))
    network = tiny.extract(architecture)
    held = {p.untyped_storage().data_ptr() for p in tiny.parameters()}
    assert not held & {p.untyped_storage().data_ptr() for p in network.parameters()}
    assert all(p.requires_grad for p in network.parameters())


def test_outsiders_are_refused(tiny):
    with pytest.raises(UserError, match="not in the space tiny"):
        tiny.activate(zoo.load("shvit_s1"))
    with pytest.raises(UserError, match="no active architecture"):
        Supernet(tiny.space, 2)(images())


def test_supernet_is_at_most_four_times_its_largest_network(shipped):
    top = largest(shipped.space, CLASSES)
    rng = np.random.default_rng(0)
    count = parameter_count(top, CLASSES)
    assert all(parameter_count(shipped.space.sample(rng), CLASSES) <= count for _ in range(30))
    total = sum(p.numel() for p in shipped.parameters())
    assert total <= 4 * count
    with torch.device("meta"):
        assert sum(p.numel() for p in build(top, CLASSES).parameters()) == count
    report = summary(shipped.space, CLASSES, samples=5)
    assert report["supernet"] == total
    assert report["largest_network"] == count


def test_every_shared_value_is_used_by_some_network(tiny):
    tensors = dict(itertools.chain(tiny.named_parameters(), tiny.named_buffers()))
    unused = {id(tensor): torch.ones(tensor.shape, dtype=torch.bool) for tensor in tensors.values()}
    for architecture in members(tiny.space):
        for _, where, shared in tiny.slices(architecture):
            if id(shared) in unused:
                unused[id(shared)] &= ~where.mark(shared.shape)
                if not unused[id(shared)].any():
                    del unused[id(shared)]
        if not unused:
            break
    assert [name for name, tensor in tensors.items() if id(tensor) in unused] == []


def test_a_stage_too_large_to_share_is_named():
    data = {
        "stage_count": [2],
        "stem": {"shvit": {"stride": [8]}},
        "blocks": {"shvit_conv": {}, "mbconv": {}},
        "downsample": {"conv_bn": {}},
        "head": {"shvit": {}},
        "stages": [
            {"width": [64], "depth": [1], "block": ["shvit_conv"]},
            {"width": [64, 4096], "depth": [1, 64], "block": ["shvit_conv", "mbconv"]},
        ],
    }
    with pytest.raises(UserError, match=r"stages\[1\]: its mbconv weights cannot be shared"):
        Supernet(SearchSpace(parse_space(data, "huge")), CLASSES)


def test_small_networks_are_of_the_supernet_space():
    small, large = SearchSpace.load("small"), SearchSpace.load("supernet")
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert small.sample(rng) in large
