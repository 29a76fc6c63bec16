"""Spaces of segmentation networks: members, how they vary, and which files are refused."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from effsearch.search.parameters import enumerate_space
from searchspace import SearchSpace, UserError, zoo
from searchspace.population import PopulationParts
from searchspace.space_file import parse_space
from searchspace.units import units
from searchspace.variation import Variation

SPACE = SearchSpace.load("segmentation")
SMALL = {
    "name": "small_segmentation",
    "resolution": ["64x128", 64],
    "stage_count": [2, 3],
    "stem": {"shvit": {"stride": [4, 8]}, "efficientvit": {"stride": [2], "width": [8, 16]}},
    "blocks": {"shvit_conv": {}, "efficient_mod": {"expansion": [[1, 2]], "kernel": [5]}},
    "downsample": {"conv_bn": {}},
    "head": {"efficientvit_seg": {"stages": [1, 2, 3], "width": [16, 32], "stride": [8]}},
    "stages": [{"width": 16, "depth": 1, "block": ["shvit_conv", "efficient_mod"]}] * 3,
}


def seg(**options):
    return {"head": {"efficientvit_seg": options}}


@pytest.mark.parametrize("name", zoo.names(task="segmentation"))
def test_published_networks_are_members_but_for_their_classes(name):
    network = zoo.load(name)
    assert (network in SPACE) == (network.num_classes == 19)
    head = replace(network.head, options=tuple({**network.head.option, "classes": 19}.items()))
    assert replace(network, head=head) in SPACE


def test_its_backbones_are_those_of_the_default_space():
    own, default = SPACE.spec, SearchSpace.load("mobile").spec
    assert own.task == "segmentation"
    for part in ("counts", "stems", "blocks", "downsamples", "stages", "shape"):
        assert getattr(own, part) == getattr(default, part), part


def test_its_size_is_the_number_of_its_members():
    space = SearchSpace(parse_space(SMALL))
    members = list(enumerate_space(space))
    assert len({network.digest() for network in members}) == len(members) == space.size()
    used = Counter((n.reductions[0], len(n.stages), n.head.option["stages"]) for n in members)
    # Maps finer than the head's stride of 8 are not used.
    assert {key[:2]: max(k[2] for k in used if k[:2] == key[:2]) for key in used} == {
        (4, 2): 1, (4, 3): 2, (8, 2): 2, (8, 3): 3,
    }  # fmt: skip


@pytest.mark.parametrize("space", [SPACE, SearchSpace(parse_space(SMALL))], ids=lambda s: s.name)
def test_populations_vary_within_it_and_have_their_networks_units(space):
    rng = np.random.default_rng(2)
    variation, parts = Variation(space), PopulationParts(space)
    drawn = variation.sample(150, rng)
    mutated = variation.mutate(drawn, np.full(150, 3), rng)
    crossed = variation.crossover(drawn, mutated, rng)
    near = variation.neighbours(drawn[0], rng)[:50]
    codes = np.concatenate([drawn, mutated, crossed, near])
    counts = parts(codes).toarray()
    for code, often in zip(codes, counts, strict=True):
        network = space.decode(code)
        assert (space.encode([network])[0] == code).all()
        wanted = Counter(placed.unit for placed in units(network))
        found: Counter = Counter()
        for number in np.flatnonzero(often):
            for unit in parts.parts[number]:
                found[unit] += int(often[number])
        assert found == wanted


def test_a_network_without_a_head_is_given_the_nearest():
    member = SPACE.nearest(zoo.load("shvit_s1"))
    assert member in SPACE
    assert [s.blocks for s in member.stages] == [s.blocks for s in zoo.load("shvit_s1").stages]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"head": {"efficientvit_seg": {}, "shvit": {}}},
            "head: types for classification and segmentation; a space is for one task",
        ),
        (seg(stride=[4, 8]), r"head.efficientvit_seg.stride: \[4, 8\] given; use one value"),
        (seg(classes=[11, 19]), r"head.efficientvit_seg.classes: \[11, 19\] given; use one value"),
        (seg(stride=[6]), "head.efficientvit_seg.stride: 6 is not a power of two"),
        (
            seg(stages=[2, 3]),
            r"head.efficientvit_seg.stages: \[2, 3\] are too many behind 2 stages after a shvit "
            "stem of stride 4, of whose maps 1 are no finer than the head's stride of 8",
        ),
        (
            {"resolution": ["90x120"], "stage_count": 3},
            "resolution: at 90x120 the maps of strides 8, 16, which the head adds up behind 3 "
            "stages after a shvit stem of stride 4, differ in size; 96x128 would do",
        ),
    ],
)
def test_files_whose_members_could_not_be_built_are_refused(change, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_space({**SMALL, **change})
    assert "\n" not in str(caught.value)
