"""Fitted tables: floors, additivity, monotonicity, intervals, validation."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from effsearch.latency.catalogue import SHIPPED as FOLDER
from effsearch.latency.models.accelerator_features import (
    FEATURES,
    Hardware,
    features,
    is_fused,
    is_linear_attention,
)
from effsearch.latency.models.fitted import FORMAT, PRICED, FittedTable
from effsearch.latency.models.registry import read_model
from searchspace import UserError, operators, zoo
from searchspace.operators import KINDS, Operator

CARDS = {p.stem: json.loads(p.read_text("utf-8")) for p in FOLDER.glob("*.json")}
SHIPPED = sorted(name for name, card in CARDS.items() if card["model"] == "fitted")


def table(name="iphone12"):
    return read_model(FOLDER / f"{name}.json")


def card():
    return json.loads((FOLDER / "iphone12.json").read_text("utf-8"))


def operator(kind="pointwise_conv", op="Conv", **changes):
    base = Operator(
        name="x",
        kind=kind,
        op=op,
        input_shape=(1, 64, 14, 14),
        output_shape=(1, 64, 14, 14),
        kernel=1,
        stride=1,
        groups=1,
        macs=802816,
        params=4096,
        input_bytes=50176,
        weight_bytes=16384,
        output_bytes=50176,
        follows="",
    )
    return replace(base, **changes)


sizes = st.integers(1, 4096)


@st.composite
def any_operator(draw):
    kind = draw(st.sampled_from(KINDS))
    op = draw(
        st.sampled_from(
            [
                "Conv",
                "MatMul",
                "Add",
                "Mul",
                "Relu",
                "Sigmoid",
                "Transpose",
                "Concat",
                "LayerNormalization",
                "BatchNormalization",
                "Foo",
            ]
        )
    )
    shape = (1, draw(sizes), draw(st.integers(1, 128)), draw(st.integers(1, 128)))
    return operator(
        kind,
        op,
        input_shape=shape,
        output_shape=shape,
        macs=draw(st.integers(0, 10**10)),
        input_bytes=draw(st.integers(1, 10**8)),
        output_bytes=draw(st.integers(1, 10**8)),
        weight_bytes=draw(st.integers(0, 10**8)),
        follows=draw(st.sampled_from(["", *KINDS])),
    )


def test_iphone_tables_are_shipped():
    assert {"iphone12", "iphone13", "iphone14", "iphone12pro"} <= set(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_tables_say_what_they_are(name):
    meta = table(name).meta
    assert meta["format"] == FORMAT
    assert meta["name"] == name
    for key in ("device", "os", "runtime", "compute_unit", "precision", "date", "sources"):
        assert meta[key]
    assert meta["reference_count"] >= 10
    for unit in ("leave_network_out", "leave_family_out"):
        value, low, high = meta["held_out"][unit]["median_error_percent"]
        assert 0 < low <= value <= high


@pytest.mark.parametrize("name", SHIPPED)
@settings(max_examples=60, deadline=None)
@given(o=any_operator())
def test_no_operator_is_free_or_faster_than_the_hardware(name, o):
    model = table(name)
    cost, floor = model.operator_ms([o])[0], model.floor_ms([o])[0]
    hardware = model.hardware
    assert floor >= o.macs / 1e9 / hardware.peak_gmacs_per_ms * (1 - 1e-12)
    assert floor >= o.weight_bytes / 2e6 / hardware.weight_mb_per_ms * (1 - 1e-12)
    assert cost > 0
    assert cost > floor


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from([k for k in KINDS if k != "matmul"]),
    macs=st.integers(0, 10**9),
    more=st.integers(1, 10**9),
)
def test_more_macs_are_never_cheaper(kind, macs, more):
    few, many = operator(kind, macs=macs), operator(kind, macs=macs + more)
    a, b = table().operator_ms([few, many])
    assert b >= a


@pytest.mark.parametrize("key", ["input_bytes", "output_bytes", "weight_bytes"])
def test_more_bytes_are_never_cheaper(key):
    model = table()
    for kind in KINDS:
        o = operator(kind)
        costs = [model.operator_ms([replace(o, **{key: n})])[0] for n in (10**4, 10**6, 10**8)]
        assert costs == sorted(costs)


def test_features_add_up_over_parts():
    model = table()
    ops = operators(zoo.load("efficientvit_b1"), "deploy")
    whole = model.features(ops)
    parts = np.stack([model.features(ops[i : i + 7]) for i in range(0, len(ops), 7)])
    np.testing.assert_allclose(parts.sum(0), whole, rtol=1e-9)
    mean, _ = model.evaluate(whole[None])
    added = model.attribute(parts)
    assert added.min() > 0
    assert 0 < mean[0] - added.sum() < 2 * model.price[0]


def test_operators_and_totals_agree():
    model = table()
    ops = operators(zoo.load("swiftformer_xs"), "deploy")
    mean, std = model.evaluate(model.features(ops)[None])
    median = mean[0] / np.sqrt(1 + (std[0] / mean[0]) ** 2)
    assert model.operator_ms(ops).sum() + model.price[0] == pytest.approx(median)


def test_interval_widens_away_from_what_was_measured():
    model = table()

    def relative(totals):
        mean, std = model.evaluate(totals[None])
        return std[0] / mean[0]

    usual = relative(model.features(operators(zoo.load("swiftformer_s"), "deploy")))
    for name in ("linear_attention.mb", "matmul.gmacs", "spill.mb", "norm.mb"):
        odd = np.zeros(len(FEATURES) + 1)
        odd[FEATURES.index(name)] = 5.0 / model.price[PRICED.index(name)]
        assert relative(odd) > 1.5 * usual, name


def test_transferred_blocks_are_marked_and_wider():
    model = table("iphone12")
    lite_mla = operators(zoo.load("efficientvit_b1"), "deploy")
    assert model.mark(lite_mla) == "transferred"
    assert model.mark(operators(zoo.load("shvit_s1"), "deploy")) == "fitted"
    assert table("iphone13").mark(lite_mla) == "fitted"
    assert model.mark([operator("other", "Foo")]) == "estimated"
    totals = model.features(lite_mla)
    native = totals.copy()
    native[-1] = 0.0
    assert totals[-1] > 0
    assert model.evaluate(totals[None])[1] > model.evaluate(native[None])[1]


def test_batches_agree_with_single_networks():
    model = table()
    totals = np.stack(
        [model.features(operators(zoo.load(n), "deploy")) for n in ("shvit_s1", "efficientmod_s")]
    )
    mean, std = model.evaluate(totals)
    for i in range(2):
        one = model.evaluate(totals[i : i + 1])
        np.testing.assert_allclose([mean[i], std[i]], [one[0][0], one[1][0]], rtol=1e-12)


def test_linear_attention_takes_times_its_arithmetic():
    """LiteMLA networks take 2 to 3.5 times what their arithmetic says (iPhone 13)."""
    model = table("iphone13")
    ops = operators(zoo.load("efficientvit_b1"), "deploy")
    normal = [o for o in ops if not is_linear_attention(o) or o.kind != "matmul"]
    mean, without = (model.evaluate(model.features(x)[None])[0][0] for x in (ops, normal))
    assert 1.5 < mean / without < 4


def test_softmax_attention_is_not_linear_attention():
    for name in zoo.names():
        found = any(
            o.kind == "matmul" and is_linear_attention(o)
            for o in operators(zoo.load(name), "deploy")
        )
        assert found == name.startswith("efficientvit"), name


def test_fusion():
    assert is_fused(operator("activation", "Relu", follows="conv"))
    assert is_fused(operator("elementwise", "Add", follows="linear"))
    assert not is_fused(operator("elementwise", "Add", follows="movement"))
    assert not is_fused(operator("norm", "LayerNormalization", follows="conv"))
    swish = operator("elementwise", "Mul", follows="activation", input_bytes=100352)
    gate = operator("elementwise", "Mul", follows="activation", input_bytes=50432)
    assert is_fused(swish)
    assert not is_fused(gate)
    totals = dict(zip(FEATURES, features([swish], Hardware(5.0, 30.0, 1.0)), strict=True))
    assert totals["fused.mb"] > 0
    assert totals["dispatch.count"] == 0


def change(path, value):
    broken = card()
    at = broken
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return broken


@pytest.mark.parametrize(
    ("path", "value", "names"),
    [
        (("format",), FORMAT + 1, "format"),
        (("format",), "one", "format"),
        (("device",), 3, "device"),
        (("kind",), "measured", "kind"),
        (("hardware",), None, "hardware"),
        (("hardware", "peak_gmacs_per_ms"), 0, "hardware.peak_gmacs_per_ms"),
        (("prices",), {}, "prices"),
        (("prices", 2, "ms"), -1, "prices[2].ms"),
        (("prices", 2, "ms"), float("nan"), "prices[2].ms"),
        (("prices", 2, "total"), "magic", "prices[2].total"),
        (("prices",), [], "prices"),
        (("covariance",), [[1.0]], "covariance"),
        (("residual_std",), None, "residual_std"),
        (("traits",), {"measured": "all", "transferred": []}, "traits.measured"),
    ],
)
def test_broken_tables_are_refused_by_file_and_field(path, value, names):
    with pytest.raises(UserError) as error:
        FittedTable.from_card(change(path, value), "somewhere.json")
    assert "somewhere.json" in str(error.value)
    assert names in str(error.value)
    assert "\n" not in str(error.value)


def test_truncated_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "t.json"
    path.write_text((FOLDER / "iphone12.json").read_text("utf-8")[:500], encoding="utf-8")
    with pytest.raises(UserError, match=r"t\.json"):
        read_model(path)
    with pytest.raises(UserError, match="cannot read"):
        read_model(tmp_path / "absent.json")
