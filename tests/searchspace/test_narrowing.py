"""Narrowed spaces: members of the whole that keep to what is asked for."""

from pathlib import Path

import numpy as np
import pytest

import searchspace
from searchspace import SearchSpace, UserError
from searchspace.narrowing import Narrowing, narrowed
from searchspace.space_file import parse_space
from searchspace.yaml_text import read_yaml


def narrow(name, **kept):
    whole = SearchSpace.load(name)
    data = read_yaml(Path(searchspace.__file__).parent / "spaces" / f"{name}.yaml", "space")
    return whole, SearchSpace(parse_space(narrowed(data, whole.spec, Narrowing(**kept))))


@pytest.mark.parametrize("name", ["mobile", "small"])
def test_members_keep_to_what_is_asked_for_and_are_of_the_whole(name):
    blocks, strides = ("shsa", "shvit_conv"), (8,)
    whole, space = narrow(name, blocks=blocks, stem_strides=strides, resolutions=(224,))
    rng = np.random.default_rng(0)
    for _ in range(30):
        member = space.sample(rng)
        assert member in whole
        assert {b.type for stage in member.stages for b in stage.blocks} <= set(blocks)
        assert member.stem.stride in strides
        assert member.resolution == 224
    assert space.size() < whole.size()


def test_nothing_asked_for_keeps_everything():
    whole, space = narrow("small")
    assert space.axes == whole.axes
    assert not Narrowing()


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({"blocks": ("nope",)}, r"--blocks: nope is not in this space; it has shvit_conv"),
        ({"blocks": ("lite_mla",)}, r"--blocks: stage 1 takes none of lite_mla, but shvit_conv"),
        ({"stem_strides": (8, 7)}, r"--stem-strides: 7 is not in this space; it has 2, 4, 8, 16"),
        ({"resolutions": (230,)}, r"--resolution: 230 is not in this space; it has 192, 224"),
    ],
)
def test_what_the_space_has_not_is_told_with_what_it_has(kept, message):
    with pytest.raises(UserError, match=message):
        narrow("mobile", **kept)
