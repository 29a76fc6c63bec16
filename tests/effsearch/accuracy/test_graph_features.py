"""Scores of foreign networks from their ONNX graph alone."""

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
import typer
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from effsearch.accuracy.features import TOTALS
from effsearch.accuracy.graph_features import graph_features
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.accuracy.registry import load_source
from effsearch.cli import score as command
from effsearch.onnx_io.onnx_files import to_onnx
from searchspace import UserError, build, zoo

SHARED = os.environ.get("EFFSEARCH_DATA")


def saved(path: Path, name: str, classes: int = 1000) -> Path:
    onnx.save(to_onnx(build(zoo.load(name), num_classes=classes).eval()), str(path))
    return path


def small(path: Path, image: list[int], classes: int = 7, logits: bool = True) -> Path:
    """A convolution, a mean and a linear layer, or without the latter two."""
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, image[1] if len(image) > 1 else 1, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])]
    initialisers = [numpy_helper.from_array(weight, "w")]
    last, shape = "y", [1, 8, image[2] - 2, image[3] - 2]
    if logits:
        nodes.append(helper.make_node("GlobalAveragePool", ["y"], ["p"]))
        nodes.append(helper.make_node("Flatten", ["p"], ["f"]))
        nodes.append(helper.make_node("Gemm", ["f", "c"], ["z"]))
        matrix = rng.normal(size=(8, classes)).astype(np.float32)
        initialisers.append(numpy_helper.from_array(matrix, "c"))
        last, shape = "z", [1, classes]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, shape)],
        initialisers,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)]), str(path))
    return path


@pytest.mark.parametrize("name", ["shvit_s1", "efficientvit_b0", "swiftformer_xs"])
def test_a_graph_has_the_totals_of_its_architecture(tmp_path, name):
    found = dict(zip(TOTALS, graph_features(saved(tmp_path / "net.onnx", name)), strict=True))
    source = ImagenetEstimate.load()
    ours = dict(zip(TOTALS, source.features(zoo.load(name)), strict=True))
    for total in ("gmacs", "mactivations", "layers", "mixers", "stem.log2_side", "last.log2_side",
                  "classifier.log2_width", "layers.gmacs.log2_side"):  # fmt: skip
        assert found[total] == pytest.approx(ours[total], rel=0.02), total
    assert found["mparams"] == pytest.approx(ours["mparams"], rel=0.02)
    assert found["other.gmacs"] == found["gmacs"]


def test_an_exported_network_scores_near_its_architecture_and_less_certain(tmp_path):
    source = load_source()
    for name in ("shvit_s1", "efficientvit_b0"):
        graph = source.score_graph(saved(tmp_path / "net.onnx", name))
        own = source.score(zoo.load(name))
        assert abs(graph.score - own.score) < 3 * graph.std
        assert graph.std > 1.5 * own.std


def test_the_classifier_counts_as_imagenets(tmp_path):
    many = graph_features(saved(tmp_path / "many.onnx", "shvit_s1"))
    few = graph_features(saved(tmp_path / "few.onnx", "shvit_s1", classes=10))
    at = [i for i, name in enumerate(TOTALS) if name != "mactivations"]
    np.testing.assert_allclose(few[at], many[at], rtol=0.01)


@pytest.mark.parametrize(
    ("image", "logits", "message"),
    [
        ([1, 3, 32, 32], False, "its output is 1x8x30x30, logits would be 1xCLASSES"),
        ([1, 1, 32, 32], True, "its input is 1x1x32x32, an image would be 1x3xHxW"),
        ([2, 3, 32, 32], True, "one image"),
    ],
)
def test_what_is_no_image_classifier_is_one_line(tmp_path, image, logits, message):
    path = small(tmp_path / "net.onnx", image, logits=logits)
    with pytest.raises(UserError, match=message) as caught:
        graph_features(path)
    assert "\n" not in str(caught.value)


def test_a_graph_without_an_image_is_refused(tmp_path):
    weight = numpy_helper.from_array(np.ones((16, 4), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [weight],
    )
    path = tmp_path / "linear.onnx"
    onnx.save(helper.make_model(graph), str(path))
    with pytest.raises(UserError, match="no image classifier: its input is 1x16"):
        graph_features(path)


def application() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    command.register(app)
    return app


def test_the_command_scores_a_graph_and_marks_it(tmp_path):
    path = saved(tmp_path / "net.onnx", "shvit_s1")
    result = CliRunner().invoke(application(), ["score", str(path), "shvit_s1", "--json"])
    graph, own = json.loads(result.stdout)["scores"]
    assert graph["kind"] == "estimated"
    assert graph["graph_alone"]
    assert "graph_alone" not in own
    assert graph["std"] > own["std"]


def test_the_command_estimates_for_the_recipe_asked_for():
    plain = CliRunner().invoke(application(), ["score", "shvit_s1", "--json"])
    taught = CliRunner().invoke(
        application(), ["score", "shvit_s1", "--recipe-distilled", "--json"]
    )
    scores = [json.loads(r.stdout)["scores"][0]["score"] for r in (plain, taught)]
    assert 0.5 < scores[1] - scores[0] < 2.5


def test_other_sources_refuse_a_graph(tmp_path):
    path = small(tmp_path / "net.onnx", [1, 3, 32, 32])
    with pytest.raises(UserError, match="--proxy imagenet takes an ONNX file"):
        load_source("macs").score_graph(path)


@pytest.mark.skipif(SHARED is None, reason="EFFSEARCH_DATA is not set")
@pytest.mark.parametrize(
    ("name", "top1"),
    [("repvit_m0_9@224", 77.4), ("convnext_tiny@224", 82.1), ("mobilenetv2_100@224", 72.9)],
)
def test_graphs_whose_weights_are_inputs(name, top1):
    path = Path(str(SHARED)) / "phones" / "graphs" / f"{name}.onnx"
    score = load_source().score_graph(path)
    assert abs(score.score - top1) < 3 * score.std
    assert 0.5 < score.std < 4
