"""ONNX: the file says what the network says, and a bad file is one clear line."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from effsearch.onnx_io.onnx_files import OPSET, to_onnx
from effsearch.onnx_io.reading import read_graph
from searchspace import Architecture, SearchSpace, UserError, build, zoo
from searchspace.layers import LayerScale

MOBILE = SearchSpace.load("mobile")
SMALL = ("shvit_s1", "efficientmod_xxs", "swiftformer_xs", "efficientvit_b0")
NAMES = [n if n in SMALL else pytest.param(n, marks=pytest.mark.slow) for n in zoo.names()]
SEEDS = [s if s < 4 else pytest.param(s, marks=pytest.mark.slow) for s in range(20)]


def random_network(architecture, seed=0):
    """A network whose norms and layer scales are neither zero nor neutral."""
    torch.manual_seed(seed)
    network = build(architecture).eval()
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                part.running_mean.uniform_(-0.3, 0.3)
                part.running_var.uniform_(0.5, 1.5)
            if isinstance(part, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm):
                part.weight.uniform_(0.5, 1.5)
                part.bias.uniform_(-0.3, 0.3)
            if isinstance(part, LayerScale):
                part.gamma.uniform_(0.2, 0.8)
    return network


def session(model):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def parity_error(network, batch=1):
    """Greatest difference of ONNX Runtime's logits over their spread."""
    side = network.architecture.resolution
    x = torch.randn(batch, 3, side, side)
    with torch.no_grad():
        expected = network(x).numpy()
    model = to_onnx(network, image_batch=batch)
    onnx.checker.check_model(model, full_check=True)
    (found,) = session(model).run(["logits"], {"input": x.numpy()})
    assert found.shape == expected.shape
    assert expected.std() > 0
    return float(np.abs(found - expected).max() / expected.std())


@pytest.mark.parametrize("name", NAMES)
def test_published_networks_run_alike(name):
    assert parity_error(random_network(zoo.load(name))) <= 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_sampled_networks_run_alike(seed):
    architecture = MOBILE.sample(np.random.default_rng(seed))
    assert parity_error(random_network(architecture, seed)) <= 1e-4


@pytest.fixture(scope="module")
def tiny():
    return random_network(SearchSpace.load("tiny").sample(np.random.default_rng(5)))


@pytest.mark.parametrize("seed", range(12))
def test_tiny_networks_run_alike_in_batches(seed):
    architecture = SearchSpace.load("tiny").sample(np.random.default_rng(seed))
    assert parity_error(random_network(architecture, seed), batch=3) <= 1e-4


def test_parity_would_notice_a_wrong_weight(tiny):
    model = to_onnx(tiny)
    side = tiny.architecture.resolution
    x = np.random.default_rng(0).standard_normal((1, 3, side, side)).astype(np.float32)
    before = session(model).run(None, {"input": x})[0]
    # The greatest weight: every one is used.
    weight = max(model.graph.initializer, key=lambda t: len(t.raw_data))
    weight.raw_data = np.zeros(len(weight.raw_data), np.uint8).tobytes()
    after = session(model).run(None, {"input": x})[0]
    assert np.abs(after - before).max() > 1e-2 * before.std()


def test_the_file_has_the_form_that_is_promised(tiny):
    model = to_onnx(tiny)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", OPSET)]
    assert [i.name for i in model.graph.input] == ["input"]
    assert [o.name for o in model.graph.output] == ["logits"]
    shapes = [
        [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (model.graph.input[0], model.graph.output[0])
    ]
    side = tiny.architecture.resolution
    assert shapes == [[1, 3, side, side], [1, 1000]]
    assert all(t.data_type in (TensorProto.FLOAT, TensorProto.INT64) for t in initialisers(model))
    assert "BatchNormalization" not in {n.op_type for n in model.graph.node}
    names = [n.name for n in model.graph.node]
    assert len(set(names)) == len(names)


def initialisers(model):
    return list(model.graph.initializer)


def test_the_file_says_what_it_is(tiny, tmp_path):
    model = to_onnx(tiny)
    (entry,) = [p for p in model.metadata_props if p.key == "architecture"]
    path = tmp_path / "architecture.yaml"
    path.write_text(entry.value)
    assert Architecture.from_yaml(path) == tiny.architecture


def test_exporting_leaves_the_network_alone(tiny):
    before = {k: v.clone() for k, v in tiny.state_dict().items()}
    tiny.train()
    to_onnx(tiny)
    assert tiny.training
    tiny.eval()
    assert all(torch.equal(v, before[k]) for k, v in tiny.state_dict().items())


def test_reading_gives_the_weights_as_constants(tiny, tmp_path):
    path = tmp_path / "model.onnx"
    model = to_onnx(tiny)
    onnx.save(model, path)
    graph = read_graph(path)
    assert graph.inputs == ["input"]
    assert graph.outputs == ["logits"]
    assert {t.name for t in initialisers(model)} <= graph.constants
    assert all(output in graph.shapes for node in graph.nodes for output in node.outputs)


def small_model(shape=(1, 4, 8, 8), **kwargs):
    node = helper.make_node("Relu", ["x"], ["y"])
    info = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in ("x", "y")]
    graph = helper.make_graph([node], "small", info[:1], info[1:], **kwargs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)


def test_an_open_batch_is_one_image(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(small_model(("batch", 4, 8, 8)), path)
    assert read_graph(path).shapes["y"] == (1, 4, 8, 8)


def test_inputs_after_the_first_are_weights(tmp_path):
    node = helper.make_node("Conv", ["x", "w"], ["y"])
    x, w, y = (
        helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
        for n, s in (("x", (1, 3, 8, 8)), ("w", (5, 3, 1, 1)), ("y", (1, 5, 8, 8)))
    )
    graph = helper.make_graph([node], "conv", [x, w], [y])
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), path)
    assert read_graph(path).constants == {"w"}


def bad_files():
    loose = small_model()
    loose.graph.node[0].input[0] = "z"
    empty = helper.make_model(helper.make_graph([], "empty", [], []))
    constant = helper.make_node("Constant", [], ["y"], value_float=1.0)
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ())
    no_input = helper.make_model(helper.make_graph([constant], "none", [], [out]))
    return {
        "missing": (None, "no such ONNX file"),
        "nothing": (b"", "not a readable ONNX file"),
        "prose": (b"this is a text, and no network", "not a readable ONNX file"),
        "noise": (np.random.default_rng(0).bytes(400), "not a readable ONNX file"),
        "cut short": (small_model().SerializeToString()[:40], "not a readable ONNX file"),
        "empty graph": (empty.SerializeToString(), "not a readable ONNX file (no graph in it)"),
        "no input": (no_input.SerializeToString(), "not a readable ONNX file (no graph in it)"),
        "open side": (
            small_model((1, 4, "height", 8)).SerializeToString(),
            "the shape of 'y' is open; export with a fixed input size",
        ),
        "loose end": (loose.SerializeToString(), "(nothing gives 'z')"),
        "yaml": (b"resolution: 224\nstem: {}\n", "not a readable ONNX file"),
    }


@pytest.mark.parametrize("kind", bad_files())
def test_a_bad_file_is_one_line(tmp_path, kind):
    content, message = bad_files()[kind]
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_graph(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert message in text
    assert text.isprintable()


@pytest.mark.parametrize("cut", range(0, 60, 3))
def test_any_cut_of_a_file_is_a_graph_or_a_user_error(tmp_path, cut):
    whole = small_model().SerializeToString()
    path = tmp_path / "model.onnx"
    path.write_bytes(whole[: len(whole) * cut // 60])
    with pytest.raises(UserError, match="ONNX"):
        read_graph(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="no such ONNX file"):
        read_graph(tmp_path)
