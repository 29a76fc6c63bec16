"""Space files: what a person may edit, and what each mistake says."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import searchspace
from searchspace import SearchSpace, UserError
from searchspace.space import space_names
from searchspace.space_file import parse_space

FOLDER = Path(searchspace.__file__).parent / "spaces"


@pytest.fixture
def body():
    """Plain data of the tiny space, to spoil."""
    return yaml.safe_load((FOLDER / "tiny.yaml").read_text())


def assert_one_line(error):
    text = str(error)
    assert text.isprintable()
    assert len(text) < 600


@pytest.mark.parametrize("name", space_names())
def test_shipped_spaces_load(name):
    space = SearchSpace.load(name)
    assert space.name == name
    assert space.size() > 1


def test_a_space_of_ones_own_by_editing_one_file(tmp_path):
    text = (FOLDER / "supernet.yaml").read_text()
    edited = text.replace("name: supernet", "name: mine").replace(
        "resolution: [224]", "resolution: [192, 160]"
    )
    edited = edited.replace("heads: [1, 2, 4], qk_dim: [16]", "heads: [8], qk_dim: [8, 32]")
    assert edited != text
    path = tmp_path / "mine.yaml"
    path.write_text(edited)
    space = SearchSpace.load(path)
    assert space.name == "mine"
    sampled = [space.sample(np.random.default_rng(seed)) for seed in range(60)]
    assert {a.resolution for a in sampled} == {160, 192}
    blocks = [b for a in sampled for s in a.stages for b in s.blocks if b.type == "shsa"]
    assert {b.option["qk_dim"] for b in blocks} == {8, 32}
    assert {b.option["heads"] for b in blocks} == {8}
    assert all(a in space and a not in SearchSpace.load("supernet") for a in sampled)


def test_single_values_need_no_list(body):
    body["resolution"], body["stage_count"] = 64, 2
    body["stem"]["shvit"]["stride"] = 4
    body["blocks"]["lite_mla"] |= {"heads": 2, "scales": [3, 5]}
    spec = parse_space(body)
    assert spec.resolution == (64,)
    assert spec.counts == (2,)
    assert spec.blocks["lite_mla"]["scales"] == ((3, 5),)


def test_options_left_out_have_one_value_the_default(body):
    spec = parse_space(body)
    assert spec.blocks["shvit_conv"] == {"expansion": (2.0,), "kernel": (3,)}
    body["blocks"]["shvit_conv"] = None
    assert parse_space(body).blocks["shvit_conv"] == {"expansion": (2.0,), "kernel": (3,)}


MISTAKES = [
    ((), [], "space: [] is not a mapping of fields"),
    ((), None, "space: None is not a mapping"),
    (("colour",), 1, "colour: unknown field; allowed: name, resolution"),
    (("two\nlines",), 1, "'two\\nlines': unknown field"),
    (("name",), ["x"], "name: ['x'] is not a line of text"),
    (("resolution",), 8, "resolution: 8 is not an integer from 32 to 2048"),
    (("resolution",), [64, 64], "resolution: [64, 64] has a value twice"),
    (("resolution",), [], "resolution: empty"),
    (("resolution",), {"a": 1}, "resolution: {'a': 1} is not an integer"),
    (("stage_count",), 3, "stage_count: 3 is not an integer from 1 to 2"),
    (("stage_count",), math.nan, "stage_count: nan"),
    (("stem",), {}, "stem: give one type or more"),
    (("stem",), "shvit", "stem: 'shvit' is not a mapping"),
    (("stem", "resnet"), {}, "stem.resnet: unknown; use shvit, swiftformer"),
    (("stem", "shvit", "stride"), 2, "stem.shvit.stride: 2 is not allowed; use [4, 8, 16]"),
    (("stem", "shvit", "stride"), "four", "stem.shvit.stride: 'four' is not an integer"),
    (("stem", "shvit", "depth"), 1, "stem.shvit.depth: unknown option; allowed: none"),
    (("blocks",), None, "blocks: None is not a mapping"),
    (("blocks", "conv"), {}, "blocks.conv: unknown; use additive_attention"),
    (("blocks", "shsa", "head"), 1, "blocks.shsa.head: unknown option; allowed: partial_ratio"),
    (("blocks", "shsa", "kernel"), [3, 4], "blocks.shsa.kernel: 4 is not an odd integer"),
    (("blocks", "shsa", "partial_ratio"), 2, "blocks.shsa.partial_ratio: 2 is not a number from"),
    (("blocks", "lite_mla", "scales"), [[]], "blocks.lite_mla.scales: [] is not a list of odd"),
    (("downsample",), {}, "downsample: give one type or more"),
    (("head",), {}, "head: give one type or more"),
    (("head", "mlp"), {}, "head.mlp: unknown; use shvit"),
    (("stages",), {}, "stages: give a list"),
    (("stages",), [], "stages: give a list"),
    (("stages", 0), 3, "stages[0]: 3 is not a mapping"),
    (("stages", 0, "heads"), 3, "stages[0].heads: unknown field; allowed: width, depth"),
    (("stages", 0, "width"), [4], "stages[0].width: 4 is not an integer from 8 to 4096"),
    (("stages", 0, "depth"), 0, "stages[0].depth: 0 is not an integer from 1 to 64"),
    (("stages", 0, "depth"), 10**30, "stages[0].depth: 1"),
    (
        ("stages", 0, "block"),
        "mbconv",
        "stages[0].block: 'mbconv' is not one of additive_attention",
    ),
    (("stages", 0, "block"), [["shsa"]], "stages[0].block: ['shsa'] is not one of"),
    (
        ("stages", 0, "tail"),
        "mbconv",
        "stages[0].tail: 'mbconv' is not one of none, additive_attention",
    ),
    (("stages", 1, "width"), [33], "stages[1].width: with block lite_mla, heads: 2 does not"),
    (("stages", 0, "width"), [18], "stem.shvit: stride 8 needs widths that are multiples of 4"),
    (("resolution",), 32, None),
    (("resolution",), {"from": 64, "to": 96, "step": 16}, None),
    (("resolution",), {"from": 64}, "resolution.to: missing; a range has from, to, step"),
    (("resolution",), {"from": 64, "to": 96, "by": 8}, "resolution.by: unknown field; a range has"),
    (("resolution",), {"from": 96, "to": 64}, "resolution.to: 64 is less than where the range"),
    (("resolution",), {"from": 64, "to": 100, "step": 8}, "steps of 8 from 64 lead to 96 and 104"),
    (("resolution",), {"from": 64, "to": 3000}, "resolution.to: 3000 is not an integer from 32 to"),
    (("resolution",), {"from": 64, "to": 96, "step": 0}, "resolution.step: 0 is not an integer"),
    (("resolution",), {"from": [64, 65], "to": 96}, "is not a range of integers"),
    (("resolution",), {"from": [], "to": 96}, "resolution.from: empty"),
    (("resolution",), [64, {"from": 64, "to": 65}], "has a value twice"),
    (("stages", 0, "width"), [{"from": 16, "to": 32, "step": 8}, 20], None),
    (("blocks", "shsa", "heads"), {"from": 1, "to": 4}, None),
    (("blocks", "shsa", "heads"), {"from": 0, "to": 4}, "blocks.shsa.heads.from: 0 is not an"),
    (("blocks", "shsa", "kernel"), {"from": 3, "to": 7}, "blocks.shsa.kernel: 4 is not an odd"),
    (("blocks", "shsa", "partial_ratio"), {"from": 0.1, "to": 0.5}, "is not a number from 0.01"),
    (("shape",), [], "shape: [] is not a mapping"),
    (("shape",), {"grow": 1}, "shape.grow: unknown field; allowed: growth, width"),
    (("shape",), {"growth": 2}, "shape.growth: 2 is not [least, most], two numbers up to 4096"),
    (("shape",), {"growth": [3, 1]}, "shape.growth: [3, 1] is not [least, most]"),
    (("shape",), {"growth": [0, math.nan]}, "shape.growth: [0, nan] is not [least, most]"),
    (("shape",), {"width": [8, 16]}, "shape.width: [8, 16] is not a mapping of strides"),
    (("shape",), {"width": {"eight": [8, 16]}}, "shape.width: 'eight' is not a stride"),
    (("shape",), {"width": {8: 16}}, "shape.width.8: 16 is not [least, most]"),
    (("shape",), {"growth": [1, 2], "width": {8: [16, 64]}}, None),
    (
        ("shape",),
        {"width": {16: [8, 24]}},
        "stages[1].width: with a shvit stem, none of its widths is allowed at stride 16",
    ),
    (("shape",), {"growth": [3, 9]}, "none of its widths is allowed at stride 8 after width 32"),
]


@pytest.mark.parametrize(("path", "value", "message"), MISTAKES)
def test_a_mistake_names_its_field(tmp_path, body, path, value, message):
    if not path:
        body = value
    else:
        holder = body
        for key in path[:-1]:
            holder = holder[key]
        holder[path[-1]] = value
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(body))
    if message is None:
        assert SearchSpace.load(file).size() > 0
        return
    with pytest.raises(UserError) as caught:
        SearchSpace.load(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert message in str(caught.value)
    assert_one_line(caught.value)


@pytest.mark.parametrize("field", ["stage_count", "stem", "blocks", "downsample", "head", "stages"])
def test_a_missing_field_is_named(body, field):
    del body[field]
    with pytest.raises(UserError, match=rf"^{field}: missing$"):
        parse_space(body)


@pytest.mark.parametrize("field", ["width", "depth", "block"])
def test_a_missing_stage_field_is_named(body, field):
    del body["stages"][1][field]
    with pytest.raises(UserError, match=rf"^stages\[1\]\.{field}: missing$"):
        parse_space(body)


def test_no_member_has_a_stage_below_2x2(body):
    body["resolution"], body["stem"]["shvit"]["stride"] = [64], [16]
    body["stages"].append(dict(body["stages"][1]))
    body["stage_count"] = [2, 3]
    with pytest.raises(UserError, match=r"stage_count: 3 stages after a shvit stem of stride 16"):
        parse_space(body)
    body["resolution"] = [65]
    assert parse_space(body).counts == (2, 3)


@pytest.mark.parametrize("content", [None, b"", b"stem: [", b"just text", b"\xff\xfe\x00"])
def test_a_broken_file_is_one_line(tmp_path, content):
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        SearchSpace.load(path)
    assert str(path) in str(caught.value)
    assert_one_line(caught.value)


@pytest.mark.parametrize(
    ("name", "message"), [("moblie", "did you mean mobile"), ("", "known: mobile")]
)
def test_an_unknown_space_suggests_the_nearest(name, message):
    with pytest.raises(UserError, match=message):
        SearchSpace.load(name)


WILD = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(max_size=6),
        st.dates(),
        st.sampled_from(["shsa", "none", "lite_mla", 64, 3]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.text(max_size=6), st.integers()), inner, max_size=3),
    ),
    max_leaves=8,
)


def places(value):
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from places(inner)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), wild=WILD, rename=st.booleans())
def test_a_good_file_with_one_wild_value_is_a_space_or_a_user_error(data, wild, rename):
    body = yaml.safe_load((FOLDER / "tiny.yaml").read_text())
    body["shape"] = {"growth": [1, 4], "width": {4: [16, 32], 8: [16, 64]}}
    body["stages"][0]["width"] = {"from": 16, "to": 64, "step": 16}
    body["stages"][1]["width"] = [{"from": 32, "to": 64, "step": 8}, 128]
    holder, key = data.draw(st.sampled_from(list(places(body))))
    if rename and isinstance(holder, dict) and isinstance(wild, str | int | float | type(None)):
        holder[wild] = holder.pop(key)
    else:
        holder[key] = wild
    try:
        space = SearchSpace(parse_space(body))
    except UserError as error:
        assert_one_line(error)
    else:
        architecture = space.sample(np.random.default_rng(0))
        assert architecture in space


@settings(max_examples=200, deadline=None)
@given(data=WILD)
def test_wild_data_is_a_user_error(data):
    with pytest.raises(UserError) as caught:
        parse_space(data)
    assert_one_line(caught.value)
