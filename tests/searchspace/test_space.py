"""`SearchSpace`: sampling, variation, membership, counting; every member builds and trains."""

from __future__ import annotations

import itertools

import numpy as np
import optuna
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace import Architecture, SearchSpace, UserError, build, operators, zoo
from searchspace.scaling import scaled_families
from searchspace.space import label
from searchspace.space_file import parse_space

SPACES = {name: SearchSpace.load(name) for name in ("tiny", "mobile", "supernet", "segmentation")}
SEEDS = st.integers(0, 2**32 - 1)
spaces = st.sampled_from(sorted(SPACES)).map(SPACES.__getitem__)


def has_shape(space):
    """Whether the change of one width may force others to move."""
    return space.spec.shape.growth is not None


def forced(space, before, after):
    """Axes that may differ because others do: widths, and tails of the block's own type."""
    widths = {name for name in before if name.endswith(".width") and has_shape(space)}
    return widths | {
        name
        for name in before
        if name.endswith(".tail") and before[name] == after.get(f"{name[:6]}.block")
    }


def sample(space, seed):
    return space.sample(np.random.default_rng(seed))


@settings(max_examples=150, deadline=None)
@given(space=spaces, seed=SEEDS)
def test_samples_are_members(space, seed):
    architecture = sample(space, seed)
    assert architecture in space
    assert sample(space, seed) == architecture
    assert min(architecture.sizes) >= (2, 2)


@settings(max_examples=60, deadline=None)
@given(space=spaces, seed=SEEDS, changes=st.integers(1, 4))
def test_mutation_stays_inside_and_changes_what_was_asked(space, seed, changes):
    rng = np.random.default_rng(seed)
    parent = space.sample(rng)
    child = space.mutate(parent, rng, changes)
    assert child in space
    before, after = space.choices(parent), space.choices(child)
    changed = {name for name in before if name in after and before[name] != after[name]}
    gone = set(before) - set(after)
    assert len(changed - forced(space, before, after)) <= changes
    assert changed or gone
    # What closes an axis, or opens one, is a change of another.
    if gone or set(after) - set(before):
        assert changed


def test_neighbours_differ_in_one_axis_and_what_it_opens_or_forces():
    for space in SPACES.values():
        start = sample(space, 1)
        before, found = space.choices(start), list(space.neighbours(start))
        assert len({a.digest() for a in found}) == len(found) > 5
        for architecture in found:
            after = space.choices(architecture)
            shared = [name for name in before if name in after]
            differ = {name for name in shared if after[name] != before[name]}
            assert differ
            assert len(differ - forced(space, before, after)) <= 1


def test_a_size_moves_by_small_steps():
    space = SPACES["mobile"]
    start = zoo.load("efficientvit_b1")
    reached = {n.stages[2].width for n in space.neighbours(start)}
    assert reached == set(range(88, 193, 8))


@settings(max_examples=60, deadline=None)
@given(space=spaces, seed=SEEDS)
def test_crossover_stays_inside_and_takes_from_the_parents(space, seed):
    rng = np.random.default_rng(seed)
    parents = [space.sample(rng), space.sample(rng)]
    child = space.crossover(*parents, rng)
    assert child in space
    choices = [space.choices(parent) for parent in parents]
    for name, value in space.choices(child).items():
        given = [c[name] for c in choices if name in c]
        if name.endswith(".tail"):  # a tail of the block's own type is none
            given += ["none"] * (child.stages[int(name[5]) - 1].blocks[0].type in given)
        shaped = name.endswith(".width") and has_shape(space)
        # A segmentation head takes no more stages than the child's stem leaves maps for.
        fewer = name.endswith("_seg.stages") and value < min(given)
        assert not given or value in given or shaped or fewer
    assert space.crossover(parents[0], parents[0], rng) == parents[0]


def test_variation_of_a_stranger_is_refused():
    rng = np.random.default_rng(0)
    stranger, member = zoo.load("shvit_s1"), sample(SPACES["tiny"], 0)
    for call in (
        lambda: SPACES["tiny"].mutate(stranger, rng),
        lambda: SPACES["tiny"].crossover(member, stranger, rng),
        lambda: SPACES["tiny"].encode([member, stranger]),
    ):
        with pytest.raises(UserError, match="shvit_s1: not in the space tiny"):
            call()


@settings(max_examples=60, deadline=None)
@given(space=spaces, other=spaces, seed=SEEDS)
def test_the_nearest_is_a_member_and_a_member_its_own(space, other, seed):
    architecture = sample(other, seed)
    near = space.nearest(architecture)
    assert near in space
    assert space.nearest(near) == near
    if architecture in space:
        assert near == architecture


def test_the_nearest_keeps_what_it_can():
    near = SPACES["supernet"].nearest(zoo.load("shvit_s2"))
    assert [s.blocks[0].type for s in near.stages] == ["shvit_conv", "shsa", "shsa"]
    assert [s.width for s in near.stages] == [128, 224, 320]
    assert near.stem.stride == 16


@settings(max_examples=60, deadline=None)
@given(space=spaces, seed=SEEDS)
def test_codes_are_inverse(space, seed):
    architectures = [sample(space, seed + i) for i in range(3)]
    codes = space.encode(architectures)
    assert codes.shape == (3, len(space.axes))
    assert [space.decode(code) for code in codes] == architectures
    for row, architecture in zip(codes, architectures, strict=True):
        active = {name for name, code in zip(space.axes, row, strict=True) if code >= 0}
        assert active == set(space.choices(architecture))


@pytest.mark.parametrize("name", ["tiny", "supernet", "mobile"])
def test_suggesting_through_a_real_study(name):
    space = SPACES[name]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=5))
    suggested = []

    def objective(trial):
        architecture = space.suggest(trial)
        suggested.append(architecture)
        choices = space.choices(architecture)
        proposed = dict(trial.params)
        for name in space.sizes & set(choices):  # those move to what is allowed
            assert (choices[name] == proposed.get(name)) or name.endswith(".width")
            proposed[name] = choices[name]
        for index, stage in enumerate(architecture.stages):
            tail = f"stage{index + 1}.tail"
            if proposed.get(tail) == stage.blocks[0].type:  # one and the same network
                proposed[tail] = "none"
                proposed.pop(f"{tail}_depth", None)
        assert {k: label(v) for k, v in choices.items()} == proposed
        return architecture.depth

    study.optimize(objective, n_trials=20)
    assert all(a in space for a in suggested)
    assert len({a.digest() for a in suggested}) > 10
    again = space.suggest(optuna.trial.FixedTrial(study.trials[3].params))
    assert again == suggested[3]


def members(space):
    """Every architecture, by walking the axes with every answer to every question."""
    open_ends = [()]
    while open_ends:
        script = open_ends.pop()
        asked = []

        def choose(name, values, script=script, asked=asked):
            asked.append((name, values))
            return values[script[len(asked) - 1] if len(asked) <= len(script) else 0]

        yield space._axes.construct(choose)
        for depth in range(len(script), len(asked)):
            unchanged = (*script, *[0] * (depth - len(script)))
            open_ends += [(*unchanged, index) for index in range(1, len(asked[depth][1]))]


def test_size_is_what_enumeration_counts():
    space = SPACES["tiny"]
    found = {a.digest() for a in members(space)}
    assert len(found) == space.size() == 448


def test_tiny_by_hand():
    strides, first = 2, 2 * 2 * 2  # widths, depths, block types
    second = 2 * 2 * (4 + 1 + 2)  # widths, depths; shsa has 4 variants, lite_mla 2
    assert SPACES["tiny"].size() == strides * first * second


VARIED = """
resolution: [64, 96]
stage_count: [1, 2]
stem:
  shvit: {stride: [4, 8]}
  efficientvit: {stride: [2], width: [8, 16]}
blocks:
  shsa: {heads: [1, 2]}
  additive_attention: {}
  mbconv: {expansion: [2, 4]}
downsample: {conv_bn: {}, mbconv: {expansion: [2, 4]}}
head: {shvit: {}, swiftformer: {distillation: [true, false]}}
stages:
  - {width: [16], depth: [1, 2], block: [mbconv, additive_attention], tail: [none, shsa]}
  - {width: [16, 32], depth: 1, block: [shsa], tail: [shsa, mbconv], tail_depth: [1, 2]}
"""


@pytest.mark.slow
def test_size_with_tails_and_stems_of_their_own_width():
    space = SearchSpace(parse_space(yaml.safe_load(VARIED)))
    digests = [a.digest() for a in members(space)]
    assert len(set(digests)) == space.size()


SHAPED = """
resolution: 64
stage_count: [1, 2, 3]
shape: {growth: [1, 3], width: {4: [16, 24]}}
stem:
  shvit: {stride: [4, 8]}
  efficientvit: {stride: [2], width: [8, 16, 24]}
blocks: {mbconv: {}}
downsample: {conv_bn: {}}
head: {shvit: {}}
stages:
  - {width: {from: 8, to: 32, step: 8}, depth: 1, block: mbconv}
  - {width: [{from: 16, to: 96, step: 8}, 20], depth: 1, block: mbconv}
  - {width: {from: 32, to: 288, step: 32}, depth: 1, block: mbconv}
"""


def test_the_shape_limits_what_is_a_member_and_counted():
    space = SearchSpace(parse_space(yaml.safe_load(SHAPED)))
    found = {a.digest(): a for a in members(space)}
    assert len(found) == space.size()
    for architecture in found.values():
        widths = [stage.width for stage in architecture.stages]
        strides = [architecture.resolution // side for side, _ in architecture.sizes]
        if architecture.stem.type == "efficientvit":
            widths, strides = [architecture.stem.width, *widths], [2, *strides]
        assert all(a <= b <= 3 * a for a, b in itertools.pairwise(widths))
        assert all(w in (16, 24) for w, s in zip(widths, strides, strict=True) if s == 4)
        assert architecture in space
    narrower = dict(next(a for a in found.values() if len(a.stages) == 2).to_dict())
    narrower["stages"] = [dict(stage) for stage in narrower["stages"]]
    narrower["stem"]["width"] = narrower["stages"][0]["width"] = 24
    narrower["stages"][1]["width"] = 16
    assert Architecture.from_dict(narrower) not in space


def test_sizes_are_drawn_evenly_in_their_logarithm():
    space = SPACES["mobile"]
    assert {"stage1.width", "stage3.depth", "head.efficientvit.conv_width"} <= space.sizes
    assert not {"stage1.depth", "resolution", "stage2.shsa.heads"} & space.sizes
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(1000)]
    depths = [a.stages[2].blocks[0].depth for a in drawn]
    assert 3 <= np.median(depths) <= 5  # of 1 to 18


def test_mobile_is_large_and_holds_the_published_and_their_scalings():
    assert SPACES["mobile"].size() >= 10**12
    assert all(zoo.load(name) in SPACES["mobile"] for name in zoo.names())
    assert all(network in SPACES["mobile"] for network in scaled_families())
    assert "not an architecture" not in SPACES["mobile"]


def test_mobile_varies_what_it_says():
    axes = SPACES["mobile"].axes
    for part in (
        "resolution", "head", "head.efficientvit.conv_width", "stages", "stem.efficientvit.width",
        "stage3.downsample.mbconv.fewer_norm", "stem.shvit.stride", "stage2.block",
        "stage3.width", "stage1.depth",
        "stage2.shsa.heads", "stage2.shsa.partial_ratio", "stage3.mbconv.expansion",
        "stage2.efficient_mod.kernel", "stage4.tail", "stage2.lite_mla.head_dim",
        "stage3.additive_attention.heads", "stage3.tail.efficient_mod_attention.heads",
    ):  # fmt: skip
        assert len(axes[part]) > 1, part


def test_every_value_of_every_axis_is_sampled():
    space = SPACES["mobile"]
    seen = {}
    rng = np.random.default_rng(0)
    for _ in range(6000):
        for name, value in space.choices(space.sample(rng)).items():
            seen.setdefault(name, set()).add(value)
    for name, values in space.axes.items():
        missing = set(values) - seen.get(name, set())
        # Sizes have many values, of which the shape allows some with a few others only.
        assert len(missing) <= (0.1 * len(values) if name in space.sizes else 0), (name, missing)


def train_step(architecture):
    network = build(architecture, num_classes=4)
    x = torch.randn(2, 3, architecture.resolution, architecture.resolution)
    loss = torch.nn.functional.cross_entropy(network(x), torch.tensor([0, 3]))
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)
    unused = [n for n, p in network.named_parameters() if p.grad is None]
    assert unused == []


@pytest.mark.parametrize("seed", range(6))
def test_tiny_members_train(seed):
    train_step(sample(SPACES["tiny"], seed))


@pytest.mark.parametrize(
    "seed", [s if s < 3 else pytest.param(s, marks=pytest.mark.slow) for s in range(40)]
)
def test_mobile_members_train(seed):
    train_step(sample(SPACES["mobile"], seed))


def test_corners_of_mobile_can_be_built():
    """The first and the last value of every axis, for every type of block."""
    space = SPACES["mobile"]
    for end, wanted in itertools.product((0, -1), space.spec.blocks):

        def choose(name, values, end=end, wanted=wanted):
            return wanted if wanted in values and name.endswith("block") else values[end]

        architecture = space._axes.construct(choose)
        assert architecture in space
        assert all(o.kind != "other" for o in operators(architecture, "deploy"))
