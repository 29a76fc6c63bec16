"""`Architecture`: YAML both ways, a digest that lasts, and one clear line for every mistake."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from searchspace import Architecture, SearchSpace, UserError, zoo
from searchspace.architecture import Stem
from searchspace.yaml_text import read_yaml

SAMPLED = """
resolution: 224
stem: {type: swiftformer, stride: 8, width: 128}
stages:
- width: 128
  blocks:
  - {type: shvit_conv, depth: 1, expansion: 2.0, kernel: 3}
  - {type: additive_attention, depth: 1, expansion: 2.0, heads: 1, kernel: 3}
- width: 96
  downsample: {type: conv_bn}
  blocks:
  - {type: shsa, depth: 4, expansion: 3.0, heads: 1, kernel: 3, partial_ratio: 0.125, qk_dim: 16}
  - {type: efficient_mod_attention, depth: 1, expansion: 2.0, heads: 8}
- width: 192
  downsample: {type: conv_ln}
  blocks:
  - {type: efficient_mod, depth: 2, expansion: [1, 6], kernel: 5}
  - {type: additive_attention, depth: 2, expansion: 2.0, heads: 1, kernel: 3}
- width: 448
  downsample: {type: mbconv, expansion: 4.0, fewer_norm: false}
  blocks:
  - {type: lite_mla, depth: 5, expansion: 4.0, head_dim: 0, heads: 2, kernel: 3, scales: [5]}
head: {type: shvit}
"""


@pytest.fixture
def body():
    """Plain data of an architecture, to spoil."""
    return yaml.safe_load(SAMPLED)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), space=st.sampled_from(["mobile", "supernet"]))
def test_yaml_and_pickle_round_trips(tmp_path_factory, seed, space):
    architecture = SearchSpace.load(space).sample(np.random.default_rng(seed))
    path = tmp_path_factory.mktemp("yaml") / "architecture.yaml"
    text = architecture.to_yaml(path)
    assert path.read_text() == text
    for same in (
        Architecture.from_yaml(path),
        Architecture.from_dict(architecture.to_dict()),
        pickle.loads(pickle.dumps(architecture)),
        copy.deepcopy(architecture),
    ):
        assert same == architecture
        assert hash(same) == hash(architecture)
        assert same.digest() == architecture.digest()
        assert same.to_yaml() == text


@pytest.mark.parametrize("name", zoo.names())
def test_published_files_are_as_we_write_them(name):
    architecture = zoo.load(name)
    assert Architecture.from_dict(yaml.safe_load(architecture.to_yaml())) == architecture
    assert architecture.name == name


def test_digests_stay_what_they_were(body):
    """Runs and tables on people's disks name networks by these: they never change."""
    assert zoo.load("shvit_s1").digest() == "1df44d66bfd19330"
    assert Architecture.from_dict(body).digest() == "081afe679345aa75"


def test_the_name_is_no_part_of_the_identity(body):
    plain = Architecture.from_dict(body)
    named = plain.renamed("mine")
    assert named.name == "mine"
    assert named == plain
    assert hash(named) == hash(plain)
    assert named.digest() == plain.digest()
    assert Architecture.from_dict(named.to_dict()).name == "mine"


def test_options_left_out_are_the_defaults(body):
    plain = Architecture.from_dict(body)
    del body["stages"][0]["blocks"][0]["kernel"]
    del body["stages"][1]["blocks"][0]["qk_dim"]
    assert Architecture.from_dict(body).digest() == plain.digest()


def test_numbers_that_are_equal_are_the_same_network(body):
    plain = Architecture.from_dict(body)
    body["stages"][0]["blocks"][0]["expansion"] = 2
    body["stages"][0]["blocks"][0]["kernel"] = 3.0
    body["stages"][3]["blocks"][0]["scales"] = 5
    assert Architecture.from_dict(body).digest() == plain.digest()


@pytest.mark.parametrize(
    "path",
    [
        ("resolution",),
        ("stem", "width"),
        ("stages", 1, "blocks", 0, "heads"),
        ("stages", 1, "blocks", 0, "depth"),
        ("stages", 3, "blocks", 0, "scales"),
    ],
)
def test_every_choice_changes_the_digest(body, path):
    plain = Architecture.from_dict(body).digest()
    holder = body
    for key in path[:-1]:
        holder = holder[key]
    value = {"resolution": 256, "width": 128, "heads": 2, "depth": 2, "scales": [3, 5]}[path[-1]]
    holder[path[-1]] = value
    if path == ("stem", "width"):
        holder["width"] = body["stages"][0]["width"] = 64
    assert Architecture.from_dict(body).digest() != plain


def test_it_is_frozen(body):
    with pytest.raises(dataclasses.FrozenInstanceError):
        Architecture.from_dict(body).resolution = 32


def test_sides_are_rounded_up_at_each_halving(body):
    body["resolution"] = 200
    assert Architecture.from_dict(body).sizes == ((25, 25), (13, 13), (7, 7), (4, 4))


# Where to put what, and what the message has to say.
MISTAKES = [
    (("resolution",), 16, "resolution: 16 is not an integer from 32 to 2048"),
    (("resolution",), 224.0, "resolution: 224.0 is not an integer"),
    (("resolution",), True, "resolution: True is not an integer"),
    (("resolution",), math.nan, "resolution: nan"),
    (("resolution",), None, "resolution: None"),
    (("name",), ["a"], "name: "),
    (("name",), "two\nlines", "name: "),
    (("colour",), 1, "colour: unknown field; allowed: name, resolution"),
    (("stem",), None, "stem: None is not a mapping"),
    (("stem",), {"type": "shvit"}, "stem.width: missing"),
    (("stem", "type"), "resnet", "stem.type: 'resnet' is unknown; use one of shvit"),
    (("stem", "type"), ["shvit"], "stem.type: "),
    (("stem", "stride"), 2, "stem.stride: 2 is not allowed for a swiftformer stem; use one of"),
    (("stem", "stride"), 8.0, "stem.stride: 8.0 is not allowed"),
    (("stem", "stride"), [8], "stem.stride: [8] is not allowed"),
    (("stem", "width"), 126, "stem.width: 126 is not a multiple of 4"),
    (("stem", "depth"), 1, "stem.depth: unknown field; allowed: none"),
    (("stages",), [], "stages: 0 given; use 1 to 6"),
    (("stages",), {"width": 3}, "stages: {'width': 3} is not a list"),
    (("stages", 0), 3, "stages[0]: 3 is not a mapping"),
    (("stages", 0, "width"), 64, "stages[0].width: 64 without a downsample"),
    (("stages", 0, "width"), 4, "stages[0].width: 4 is not an integer from 8 to 4096"),
    (("stages", 1, "width"), 100, "stages[1].blocks[0]"),
    (("stages", 0, "blocks"), [], "stages[0].blocks: empty"),
    (("stages", 0, "blocks"), "x", "stages[0].blocks: 'x' is not a list"),
    (("stages", 0, "blocks", 0, "depth"), 0, "stages[0].blocks[0].depth: 0 is not an integer"),
    (("stages", 0, "blocks", 0, "depth"), 65, "stages[0].blocks[0].depth: 65 is not an integer"),
    (("stages", 0, "blocks", 0, "kernel"), 4, "kernel: 4 is not an odd integer from 1 to 15"),
    (("stages", 0, "blocks", 0, "kernel"), math.inf, "kernel: inf is not an odd integer"),
    (("stages", 0, "blocks", 0, "expansion"), math.nan, "expansion: nan is not a number"),
    (("stages", 0, "blocks", 0, "expansion"), 10**400, "expansion: 1000"),
    (("stages", 0, "blocks", 0, "type"), "conv", "stages[0].blocks[0].type: 'conv' is unknown"),
    (("stages", 0, "blocks", 0, "a\nb"), 1, "stages[0].blocks[0].'a\\nb': unknown field"),
    (("stages", 3, "blocks", 0, "heads"), 5, "stages[3].blocks[0].heads: 5 does not divide width"),
    (("stages", 3, "blocks", 0, "scales"), [4], "scales: [4] is not a list of odd integers"),
    (("stages", 3, "downsample", "type"), "pool", "stages[3].downsample.type: 'pool' is unknown"),
    (("stages", 3, "downsample", "fewer_norm"), 1, "fewer_norm: 1 is not true or false"),
    (("head",), {}, "head.type: missing"),
    (("head", "type"), "mlp", "head.type: 'mlp' is unknown; use one of shvit"),
]


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES)
def test_a_mistake_names_its_field(body, path, value, message):
    holder = body
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    if path == ("stages", 1, "width"):  # 100 channels hold no 3 heads of linear attention
        body["stages"][1]["blocks"] = [{"type": "lite_mla", "heads": 3, "head_dim": 0}]
    with pytest.raises(UserError) as caught:
        Architecture.from_dict(body)
    assert message in str(caught.value)
    assert_one_line(caught.value)


@pytest.mark.parametrize("field", ["resolution", "stem", "stages", "head"])
def test_a_missing_field_is_named(body, field):
    del body[field]
    with pytest.raises(UserError, match=rf"^{field}: missing$"):
        Architecture.from_dict(body)


def test_no_stage_is_below_2x2(body):
    body["resolution"] = 65
    assert Architecture.from_dict(body).sizes[-1] == (2, 2)
    body["resolution"] = 64
    with pytest.raises(UserError, match=r"stages\[3\]: its feature map would be 1x1") as caught:
        Architecture.from_dict(body)
    assert_one_line(caught.value)


def test_building_by_hand_is_checked_too(body):
    good = Architecture.from_dict(body)
    with pytest.raises(UserError, match=r"stem\.type: 'resnet' is unknown"):
        dataclasses.replace(good, stem=Stem("resnet", width=128, stride=8))
    with pytest.raises(UserError, match=r"stem\.depth: missing"):
        dataclasses.replace(good, stem=Stem("efficientvit", width=128, stride=8))


def assert_one_line(error):
    text = str(error)
    assert text.isprintable()
    assert len(text) < 600
    assert ":" in text


MISTAKEN = ["name", "resolution", "stem", "stages", "blocks", "heads", "kernel"]
FIELDS = st.sampled_from(
    [*MISTAKEN, "head", "type", "width", "stride", "depth", "downsample", "scales", "expansion"]
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.dates(),
    st.binary(max_size=4),
    st.sampled_from(["shvit", "shsa", "lite_mla", "conv_bn", "mbconv", "efficientvit", 224, 4]),
)
WILD = st.recursive(
    VALUES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(FIELDS, st.text(max_size=6), st.integers()), inner, max_size=5),
    ),
    max_leaves=20,
)


@settings(max_examples=300, deadline=None)
@given(data=WILD)
def test_wild_data_is_a_user_error(data):
    try:
        Architecture.from_dict(data)
    except UserError as error:
        assert_one_line(error)


@settings(max_examples=400, deadline=None)
@given(data=st.data(), wild=WILD)
def test_a_good_file_with_one_wild_value_is_a_network_or_a_user_error(data, wild):
    body = yaml.safe_load(SAMPLED)
    holder, key = data.draw(st.sampled_from(list(places(body))))
    holder[key] = wild
    try:
        architecture = Architecture.from_dict(body)
    except UserError as error:
        assert_one_line(error)
    else:
        assert Architecture.from_dict(architecture.to_dict()) == architecture


def places(value):
    """Every (holder, key) of nested data."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(items):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


BROKEN_FILES = {
    "missing": (None, "no such architecture file"),
    "empty": (b"", "architecture: None is not a mapping"),
    "prose": (b"a fast network, please", "is not a mapping"),
    "not YAML": (b"stem: {type: [", "not YAML (line 1)"),
    "tag": (b"resolution: !!int ''", "not YAML"),
    "object": (b"!!python/object:os.system {}", "not YAML"),
    "binary": (b"\xff\xfe\x00\x01", "cannot read this architecture file: not text"),
    "deep": (b"[" * 20_000, "not YAML"),
    "laughs": (
        b"a: &a [x,x,x,x,x,x,x,x,x]\n"
        + b"".join(
            b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % ((n, n) + (n - 1,) * 8)
            for n in range(ord("b"), ord("m"))
        )
        + b"stages: *l\n",
        "a: unknown field",
    ),
    "endless": (b"resolution: &r [*r]\nstem: *r\nstages: *r\nhead: *r", "not YAML"),
}


@pytest.mark.parametrize("kind", BROKEN_FILES)
def test_a_broken_file_is_one_line(tmp_path, kind):
    content, message = BROKEN_FILES[kind]
    path = tmp_path / "net.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        Architecture.from_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert_one_line(caught.value)


@pytest.mark.parametrize("path", [".", "a\0b", "/proc/self/mem"])
def test_what_is_no_file_is_one_line(path):
    with pytest.raises(UserError):
        read_yaml(path, "architecture")
