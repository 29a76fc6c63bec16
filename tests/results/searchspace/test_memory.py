"""The page on memory: its liveness is the code's, and ONNX Runtime's block can be read."""

import json
from pathlib import Path

import pytest

from effsearch.onnx_io.onnx_files import to_onnx
from results.searchspace import memory
from searchspace import build, operators, zoo
from searchspace.operators import peak_bytes

RECORDED = json.loads(Path(memory.__file__).with_name("memory.json").read_text())


@pytest.mark.parametrize("row", RECORDED["networks"], ids=lambda row: row["network"])
def test_the_recorded_liveness_is_what_the_code_says(row):
    network = zoo.load(row["network"])
    assert peak_bytes(operators(network, "deploy")) == pytest.approx(1e6 * row["with_image_mb"])
    assert memory.without_image(network) == pytest.approx(1e6 * row["liveness_mb"])


def test_onnx_runtime_plans_a_block_for_activations_alone():
    """SHViT has neither GELUs nor other layouts; its weights are 25 MB."""
    network = zoo.load("shvit_s1")
    planned = memory.planned_bytes(to_onnx(build(network).eval()), network.resolution)
    assert planned == pytest.approx(memory.without_image(network), rel=0.2)


def test_the_control_has_a_relu_for_every_gelu():
    model = to_onnx(build(zoo.load("efficientmod_xxs")).eval())
    before = [node.op_type for node in model.graph.node]
    after = [node.op_type for node in memory.relu(model).graph.node]
    assert "Gelu" in before
    assert after == ["Relu" if op == "Gelu" else op for op in before]
