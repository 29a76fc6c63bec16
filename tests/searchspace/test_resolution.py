"""Resolutions that are no squares: read and written, built, counted and encoded."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import searchspace
from searchspace import Architecture, SearchSpace, UserError, build, operators, zoo
from searchspace.operators import traced_operators
from searchspace.population import PopulationParts
from searchspace.resolution import height_width, parse_resolution, reduced, resolution_text
from searchspace.schema import BLOCKS, CHANNELS_LAST
from searchspace.space_file import parse_space
from searchspace.templates import alike
from searchspace.units import units
from searchspace.variation import Variation
from searchspace.yaml_text import read_yaml

MOBILE = Path(searchspace.__file__).parent / "spaces" / "mobile.yaml"
ONE_OF_EACH = ("shvit_s1", "efficientmod_xxs", "swiftformer_xs", "efficientvit_b0")
RECTANGLES = ([160, 288], "288x192", (256, 200), 192)

# Of 50 samples from seed 0: members that were drawn before keep their names.
SAMPLED = {
    "mobile": "7b6e7ad16f1581c0",
    "supernet": "a7399a5dbe0cbffb",
    "small": "8690dca9267a49dd",
    "tiny": "e784f82fd9052d68",
}


@pytest.fixture(scope="module")
def space():
    """The space `mobile` at four resolutions, three of them no squares."""
    whole = SearchSpace.load("mobile")
    data = read_yaml(MOBILE, "space")
    assert parse_space(data) == whole.spec
    return SearchSpace(parse_space({**data, "resolution": list(RECTANGLES)}))


@pytest.mark.parametrize(
    ("given", "meant", "text"),
    [
        (224, 224, "224"),
        ("224", 224, "224"),
        ((512, 1024), (512, 1024), "512x1024"),
        ([512, 1024], (512, 1024), "512x1024"),
        ("512x1024", (512, 1024), "512x1024"),
        (" 512x1024 ", (512, 1024), "512x1024"),
        ([256, 256], 256, "256"),
        ("256x256", 256, "256"),
    ],
)
def test_height_comes_first_and_a_square_is_one_integer(given, meant, text):
    assert parse_resolution("resolution", given) == meant
    assert resolution_text(meant) == text
    assert parse_resolution("resolution", text) == meant


@pytest.mark.parametrize(
    "given",
    [None, True, 31, 2049, 224.0, "a", "", "512x", "512x1024x3", "x", "1e3", [], [1, 2, 3],
     [512, 16], [512, None], {"height": 512}, "9" * 40],
)  # fmt: skip
def test_what_is_no_resolution_is_told_in_one_line(given):
    with pytest.raises(UserError, match=r"^resolution: .* is not ") as caught:
        parse_resolution("resolution", given)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("name", SAMPLED)
def test_members_of_square_spaces_keep_their_digests(name):
    space, rng = SearchSpace.load(name), np.random.default_rng(0)
    digests = "".join(space.sample(rng).digest() for _ in range(50))
    assert hashlib.sha256(digests.encode()).hexdigest()[:16] == SAMPLED[name]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_rectangle_is_written_and_read(name, tmp_path):
    wide = replace(zoo.load(name), resolution=(128, 256))
    wide.to_yaml(tmp_path / "a.yaml")
    assert Architecture.from_yaml(tmp_path / "a.yaml") == wide
    square = replace(wide, resolution=[128, 128])
    assert square.resolution == 128
    assert square == replace(wide, resolution=128)
    tall = replace(wide, resolution="256x128")
    assert tall.sizes == tuple((width, height) for height, width in wide.sizes)
    assert len({wide.digest(), tall.digest(), square.digest()}) == 3


@pytest.mark.parametrize("resolution", [(160, 96), (72, 200)])
@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_rectangle_is_built_and_counted(name, resolution, fvcore_macs):
    """Sides that strides don't divide are rounded up, by our sizes and by the modules alike."""
    architecture = replace(zoo.load(name), resolution=resolution)
    network = build(architecture, 10).eval()
    seen = []
    for stage in network.stages:
        stage.blocks[-1].register_forward_hook(lambda _, __, y: seen.append(tuple(y.shape[1:])))
    with torch.no_grad():
        assert network(torch.randn(1, 3, *resolution)).shape == (1, 10)
    for stage, size, shape in zip(architecture.stages, architecture.sizes, seen, strict=True):
        last = BLOCKS[stage.blocks[-1].type].layout == CHANNELS_LAST
        assert shape == ((*size, stage.width) if last else (stage.width, *size))
    macs = sum(o.macs for o in operators(architecture, "train", 10))
    assert macs == pytest.approx(fvcore_macs(network, (1, 3, *resolution)), rel=0.01)


def test_a_side_that_a_stem_cannot_take_is_refused_with_what_would_do():
    with pytest.raises(UserError, match=r"feature map would be 1x4 at resolution 64x256"):
        replace(zoo.load("shvit_s1"), resolution=(64, 256))


def test_a_space_may_mix_squares_and_rectangles(space):
    assert space.spec.resolution == ((160, 288), 192, (256, 200), (288, 192))
    rng = np.random.default_rng(0)
    drawn = [space.sample(rng) for _ in range(60)]
    assert {a.resolution for a in drawn} == set(space.spec.resolution)
    for architecture in drawn:
        assert architecture in space
        assert space.mutate(architecture, rng) in space
        assert space.nearest(architecture) == architecture
    codes = space.encode(drawn)
    assert [space.decode(code) for code in codes] == drawn


def test_two_integers_in_a_space_stay_two_squares():
    data = read_yaml(MOBILE, "space")
    assert parse_space({**data, "resolution": [512, 1024]}).resolution == (512, 1024)
    assert parse_space({**data, "resolution": "512x1024"}).resolution == ((512, 1024),)


def test_parts_of_encoded_rectangles_are_those_of_their_units(space):
    parts = PopulationParts(space)
    codes = Variation(space).sample(80, np.random.default_rng(2))
    counts = parts(codes).toarray()
    for row, code in zip(counts, codes, strict=True):
        expected: dict[object, int] = {}
        for placed in units(space.decode(code)):
            expected[placed.unit] = expected.get(placed.unit, 0) + 1
        found: dict[object, float] = {}
        for part, often in zip(parts.parts, row, strict=False):
            for unit in part if often else ():
                found[unit] = found.get(unit, 0) + often
        assert found == expected


@pytest.mark.parametrize("form", ["deploy", "train"])
def test_operators_of_many_rectangles_are_those_of_traces(space, form):
    rng = np.random.default_rng(3)
    drawn = [space.sample(rng) for _ in range(150)]
    asked = tuple(dict.fromkeys(placed.unit for a in drawn for placed in units(a)))
    groups = alike(asked, form)
    assert len(groups) < len(asked) / 4
    for group in groups:
        index = len(group.rows) // 2
        traced = traced_operators(asked[group.rows[index]], form)
        for many, one in zip(group.operators, traced, strict=True):
            for field in ("macs", "params", "input_bytes", "weight_bytes", "output_bytes"):
                values = np.broadcast_to(getattr(many, field), len(group.rows))
                assert values[index] == getattr(one, field), (asked[group.rows[index]], field)


def test_a_map_is_reduced_side_by_side():
    assert reduced((65, 128), 16) == (5, 8)
    assert height_width(224) == (224, 224)
