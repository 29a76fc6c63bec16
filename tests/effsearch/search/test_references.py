"""What winners are compared with."""

from dataclasses import replace

import pytest

from effsearch.search.references import published_backbones, references, scalable
from searchspace import SearchSpace, zoo
from searchspace.space_file import parse_space

SPACE = SearchSpace.load("segmentation")


def narrowed(*resolutions, classes=19):
    heads = {"efficientvit_seg": {**SPACE.spec.heads["efficientvit_seg"], "classes": (classes,)}}
    return SearchSpace(replace(SPACE.spec, resolution=resolutions, heads=heads))


def test_classifiers_are_as_published():
    space = SearchSpace.load("mobile")
    assert references(space) == {name: zoo.load(name) for name in zoo.names()}
    assert published_backbones(space) == {}


def test_segmentation_networks_are_those_of_as_many_classes():
    assert set(references(SPACE)) == {f"efficientvit_seg_b{i}_cityscapes" for i in range(4)}
    ade = references(narrowed(512, classes=150))
    assert set(ade) == {f"efficientvit_seg_b{i}_ade20k" for i in (1, 2, 3)}


def test_they_stand_at_the_resolutions_that_are_asked_for():
    found = references(narrowed((256, 512), (512, 1024)))
    assert len(found) == 8
    assert found["efficientvit_seg_b0_cityscapes at 512x1024"].resolution == (512, 1024)
    assert all(network in SPACE for network in found.values())


def test_scaling_by_hand_takes_every_resolution():
    found = scalable(SPACE)
    assert len(found) == 4 * len(SPACE.spec.resolution)
    assert {n.resolution for n in found.values()} == set(SPACE.spec.resolution)
    assert scalable(narrowed((512, 1024))) == references(narrowed((512, 1024)))
    assert scalable(SearchSpace.load("tiny")) == references(SearchSpace.load("tiny"))


def test_those_whose_maps_fit_no_resolution_are_left_out():
    """Two stages behind a stem of stride 8 fit 48x80; the published networks do not."""
    data = {
        "resolution": ["48x80"],
        "stage_count": 2,
        "stem": {"shvit": {"stride": [8]}},
        "blocks": {"shvit_conv": {}},
        "downsample": {"conv_bn": {}},
        "head": {"efficientvit_seg": {"stages": [2]}},
        "stages": [{"width": [16, 32], "depth": 1, "block": "shvit_conv"}] * 2,
    }
    space = SearchSpace(parse_space(data))
    assert references(space) == scalable(space) == published_backbones(space) == {}


def test_where_none_has_the_classes_all_are_given_them():
    found = references(narrowed((512, 1024), classes=11))
    assert len(found) == 7
    name = "efficientvit_seg_b0_cityscapes with 11 classes at 512x1024"
    assert found[name].num_classes == 11


@pytest.mark.parametrize("space", [SPACE, narrowed((512, 1024))], ids=["all", "one"])
def test_backbones_of_every_family_have_a_place(space):
    found = published_backbones(space)
    assert set(found) == set(zoo.names())
    for name, network in found.items():
        assert space.nearest(network) in space
        assert network.stages == zoo.load(name).stages
