"""Quantised exports: what is quantised, what stays, and what a user is told."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper

from effsearch.cli import main
from effsearch.export.check import randomise
from effsearch.export.int8 import QUANTISED, behind_quotients, quantise, quantised_by_noise
from effsearch.onnx_io.onnx_files import to_onnx
from searchspace import SearchSpace, build, zoo
from tests.fixtures.training import write_tree


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    network = build(SearchSpace.load("tiny").sample(np.random.default_rng(3)), 10).eval()
    randomise(network)
    return to_onnx(network)


@pytest.fixture(scope="module")
def images(model):
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(4)]


def logits(model, images):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.concatenate([session.run(["logits"], {"input": x})[0] for x in images])


def dequantised(model):
    """Return, by operator, how many of its inputs come out of integers."""
    made = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    return {n.name: sum(i in made for i in n.input) for n in model.graph.node}


def test_products_and_convolutions_compute_in_integers(model, images):
    found = quantise(model, images)
    onnx.checker.check_model(found)
    from_integers = dequantised(found)
    for node in model.graph.node:
        if node.op_type in QUANTISED and node.name not in behind_quotients(model):
            assert from_integers[node.name] >= 2, node.name
    sizes = [sum(t.ByteSize() for t in m.graph.initializer) for m in (found, model)]
    assert sizes[0] < 0.5 * sizes[1]
    assert [p.key for p in found.metadata_props] == [p.key for p in model.metadata_props]


def test_a_scale_for_each_output_channel_or_one_for_all(model, images):
    conv = next(n for n in model.graph.node if n.op_type == "Conv")
    weight = next(t for t in model.graph.initializer if t.name == conv.input[1])
    for per_channel in (True, False):
        held = {
            t.name: numpy_helper.to_array(t)
            for t in quantise(model, images, per_channel=per_channel).graph.initializer
        }
        assert held[f"{weight.name}_quantized"].dtype == np.int8
        assert held[f"{weight.name}_scale"].size == (weight.dims[0] if per_channel else 1)


def test_answers_stay_near_and_more_so_by_channel(model, images):
    before = logits(model, images)
    errors = [
        float(np.sqrt(np.square(logits(quantise(model, images, **how), images) - before).mean()))
        / before.std()
        for how in ({}, {"per_channel": False})
    ]
    assert 0 < errors[0] < errors[1] < 0.5


def test_kept_nodes_stay_in_float(model, images):
    kept = {n.name: n.input[1] for n in model.graph.node if n.op_type in ("Gemm", "Conv")}
    found = quantise(model, images, kept=list(kept))
    assert {n.name: n.input[1] for n in found.graph.node if n.name in kept} == kept


def test_products_behind_quotients_are_those_of_linear_attention_alone():
    for name, side, count in (
        ("efficientvit_b0", None, 8),
        ("efficientvit_b0", 64, 4),  # few pixels: what is divided is one product
        ("shvit_s1", None, 0),
        ("swiftformer_xs", None, 0),
        ("efficientmod_xxs", None, 0),
    ):
        graph = to_onnx(build(zoo.load(name)), side=side).graph
        kept = behind_quotients(helper.make_model(graph))
        constants = {t.name for t in graph.initializer}
        products = [n for n in graph.node if n.op_type == "MatMul"]
        assert len(kept) == len(set(kept)) == count, name
        assert set(kept) <= {n.name for n in products if constants.isdisjoint(n.input)}


def test_a_divisor_that_rounds_to_zero_is_why():
    """Attention over its sum: small sums are zero in integers, and the quotient no number."""
    x = helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 8, 4])
    y = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 8, 8])
    nodes = [
        helper.make_node("Transpose", ["input"], ["t"], "t", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["input", "t"], ["a"], "a"),
        helper.make_node("ReduceSum", ["a", "axes"], ["sum"], "sum"),
        helper.make_node("Div", ["a", "sum"], ["logits"], "div"),
    ]
    axes = numpy_helper.from_array(np.array([-1]), "axes")
    graph = helper.make_graph(nodes, "g", [x], [y], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 10.0**-i, (1, 8, 4)).astype(np.float32) for i in range(4)]
    assert behind_quotients(model) == ["a"]
    small = images[3:]
    assert not np.isfinite(logits(quantise(model, images, kept=()), small)).all()
    np.testing.assert_allclose(logits(quantise(model, images), small), logits(model, small))


def test_ranges_are_kept_for_another_quantisation(model, images, tmp_path):
    path = tmp_path / "ranges.json"
    first = quantise(model, images, ranges=path)
    again = quantise(model, [], ranges=path)
    assert first.SerializeToString() == again.SerializeToString()


def test_what_is_quantised_is_not_quantised_again(model, images):
    found = quantise(model, images)
    assert quantised_by_noise(found) is found
    plain = helper.make_model(helper.make_graph([], "nothing to quantise", [], []))
    assert quantised_by_noise(plain) is plain
    assert dequantised(quantised_by_noise(model)).keys() == dequantised(found).keys()


def test_export_says_what_int8_did_to_the_answers(tmp_path, capsys, monkeypatch):
    data = write_tree(tmp_path / "images", side=32)
    monkeypatch.chdir(tmp_path)
    how = ["--classes", "3", "--resolution", "64", "--precision", "int8", "--data", str(data)]
    with pytest.raises(SystemExit) as exit_:
        main(["export", "efficientvit_b0", *how, "--out", "q.onnx", "--json"])
    assert exit_.value.code == 0
    shown = capsys.readouterr()
    said = json.loads(shown.out)
    assert said["precision"] == "int8"
    assert "quantising by 48 training images" in shown.err
    assert "of 24 validation images (with fresh weights" in said["check"]
    assert "4 products that a quotient is computed from stay in float32" in said["check"]
    held = onnx.load("q.onnx")
    assert any(node.op_type == "QuantizeLinear" for node in held.graph.node)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--precision", "int8"], "--precision int8: ranges come from images; give some with"),
        (["--data", "x"], "--data: only --precision int8 looks at images"),
        (["--precision", "int8", "--data", "nowhere"], "nowhere does not exist"),
        (
            ["--precision", "int8", "--data", "x", "--features-only"],
            "--precision int8: whole networks only; drop --features-only",
        ),
        (
            ["--precision", "int8", "--data", "x", "--batch", "4"],
            "--precision int8: one image at a time; drop --batch 4",
        ),
    ],
)
def test_a_wrong_request_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(["export", "shvit_s1", "--out", "q.onnx", *words])
    assert exit_.value.code == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "q.onnx").exists()
