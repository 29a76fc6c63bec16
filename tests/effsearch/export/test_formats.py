"""Every format: its file is loaded as its users load it, and computes what the network does."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import safetensors
import torch

from effsearch.export.check import randomise
from effsearch.export.coreml_format import Deployed
from effsearch.export.facts import export_facts
from effsearch.export.files import WRITERS, write_export
from effsearch.export.formats import FORMATS, OPSETS
from effsearch.export.job import Job
from effsearch.export.request import ExportRequest
from effsearch.targets import load_built
from effsearch.training.checkpoint import save_network
from effsearch.training.data.augment import MEAN, STD
from searchspace import Architecture, SearchSpace, UserError, build, zoo
from tests.fixtures.mixtures import mixture

LABELS = ("cat", 'a "dog"', "größer", "d", "e")
ALONE = """
import sys
class Blocked:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in ("effsearch", "searchspace"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
import runpy, torch
for script in sys.argv[1:]:
    names = runpy.run_path(script)
    given = torch.load(script + ".input", weights_only=True)
    with torch.no_grad():
        found = names["load"]()(given)
    torch.save(found, script + ".output")
    assert not any(name.partition(".")[0] in ("effsearch", "searchspace") for name in sys.modules)
"""


def run_onnx(path, images):
    session = ort.InferenceSession(str(path))
    return [torch.from_numpy(o) for o in session.run(None, {"input": images.numpy()})]


def run_program(path, images):
    return torch.export.load(path).module()(images)


def run_code(path, images):
    return runpy.run_path(str(path))["load"]()(images)


def run_network(path, images):
    target, architecture = load_built(str(path))
    network = target.stored().build()
    assert network.architecture.digest() == architecture.digest()
    return network(images)


# How each format's file is run; Core ML needs a Mac, and is looked into instead.
RUN = {
    "onnx": run_onnx,
    "coreml": None,
    "pt2": run_program,
    "python": run_code,
    "torch": run_network,
    "safetensors": run_network,
}
RUNNING = [name for name, run in RUN.items() if run]


def small():
    return SearchSpace.load("tiny").sample(np.random.default_rng(1))


def make(architecture, classes=5):
    torch.manual_seed(0)
    network = build(architecture, classes).eval()
    randomise(network)
    return network


@pytest.fixture
def trained(tmp_path):
    """A checkpoint of a network with labels, and the network."""
    network = make(small())
    path = tmp_path / "trained.pt"
    save_network(network, path, True, {"labels": list(LABELS)})
    return path, network


def export(target, out, **more):
    return write_export(ExportRequest(str(target), out=out, **more)).facts


def distance(found, expected):
    found, expected = (
        [one] if isinstance(one, torch.Tensor) else list(one) for one in (found, expected)
    )
    assert [tuple(one.shape) for one in found] == [tuple(one.shape) for one in expected]
    return max(float((a - b).abs().max() / b.std()) for a, b in zip(found, expected, strict=True))


def test_every_format_is_written_and_run_here():
    assert set(FORMATS) == set(WRITERS) == set(RUN)
    assert len({f.suffix for f in FORMATS.values()}) == len(FORMATS)


@torch.no_grad()
@pytest.mark.parametrize("resolution", [None, "96x160"])
@pytest.mark.parametrize("name", RUNNING)
def test_its_file_computes_what_the_network_does(name, resolution, trained, tmp_path):
    path, network = trained
    out = tmp_path / f"net{FORMATS[name].suffix}"
    result = export(path, out, format=name, resolution=resolution)
    assert (result["trained"], result["labels"]) == (True, list(LABELS))
    images = torch.randn(1, 3, result["input"]["height"], result["input"]["width"])
    assert distance(RUN[name](out, images), network(images)) < 1e-4
    assert result["outputs"] == ["logits"]


@torch.no_grad()
@pytest.mark.parametrize("name", [n for n in RUNNING if FORMATS[n].maps])
def test_maps_of_layouts_and_families(name, tmp_path):
    architecture = mixture(4)
    architecture.to_yaml(tmp_path / "mixture.yaml")
    out = tmp_path / f"net{FORMATS[name].suffix}"
    result = export(tmp_path / "mixture.yaml", out, format=name, features=True)
    assert result["outputs"] == ["feature_0", "feature_1", "feature_2"]
    torch.manual_seed(0)
    whole = build(architecture)
    backbone = build(architecture, features_only=True).load_network(whole).eval()
    images = torch.randn(1, 3, 128, 192)
    assert distance(RUN[name](out, images), backbone(images)) < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("batch", ["3", "dynamic"])
@pytest.mark.parametrize("name", RUNNING)
def test_batches(name, batch, trained, tmp_path):
    path, network = trained
    out = tmp_path / f"net{FORMATS[name].suffix}"
    any_batch = not FORMATS[name].batches
    export(path, out, format=name, batch=None if any_batch else batch)
    side = network.architecture.resolution
    for count in (3,) if batch == "3" else (1, 2, 5):
        images = torch.randn(count, 3, side, side)
        assert distance(RUN[name](out, images), network(images)) < 1e-4


@pytest.mark.parametrize("opset", [OPSETS[0], 16, 17, 19, OPSETS[-1]])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_opsets(opset, precision, tmp_path):
    mixture(8).to_yaml(tmp_path / "mixture.yaml")
    out = tmp_path / "net.onnx"
    export(tmp_path / "mixture.yaml", out, opset=opset, precision=precision, batch="dynamic")
    model = onnx.load(out)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import] == [opset]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param


def facts_in(name, path):
    """Return what a file says of its input, labels and network."""
    if name == "onnx":
        held = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        return {**{k: json.loads(held[k]) for k in ("input", "labels")}, "digest": held["digest"]}
    if name == "coreml":
        held = package(path).user_defined_metadata
        texts = {key: held[f"effsearch.{key}"] for key in ("input", "labels")}
        return {**{k: json.loads(t) for k, t in texts.items()}, "digest": held["effsearch.digest"]}
    if name == "pt2":
        extra = {"effsearch.json": ""}
        torch.export.load(path, extra_files=extra)
        return json.loads(extra["effsearch.json"])
    if name == "torch":
        return torch.load(path, weights_only=True)
    if name == "safetensors":
        with safetensors.safe_open(path, "pt") as file:
            return json.loads(file.metadata()["effsearch"])
    names = {"__name__": "net", "__file__": str(path)}
    exec(path.read_text("utf-8"), names)
    network = load_built(str(path.with_name("trained.pt")))[1]
    assert f"architecture {network.digest()}" in names["__doc__"]
    wanted = {"mean": list(names["MEAN"]), "std": list(names["STD"])}
    return {"input": wanted, "labels": list(names["LABELS"]), "digest": network.digest()}


def package(path):
    coremltools = pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    return coremltools.models.MLModel(str(path), skip_model_load=True)


@pytest.mark.parametrize("name", FORMATS)
def test_it_says_how_images_are_prepared_and_what_classes_are(name, trained, tmp_path):
    if name == "coreml":
        pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    path, network = trained
    out = tmp_path / f"net{FORMATS[name].suffix}"
    export(path, out, format=name)
    found = facts_in(name, out)
    assert found["labels"] == list(LABELS)
    assert (found["input"]["mean"], found["input"]["std"]) == (list(MEAN), list(STD))
    assert found["digest"] == network.architecture.digest()


def test_core_ml_takes_pixels_and_gives_labels(trained, tmp_path):
    path, network = trained
    out = tmp_path / "net.mlpackage"
    pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    result = export(path, out, format="coreml", precision="float32")
    spec = package(out).get_spec()
    (taken,) = spec.description.input
    side = network.architecture.resolution
    image = taken.type.imageType
    assert (taken.name, image.height, image.width) == ("image", side, side)
    assert image.colorSpace == image.RGB
    assert result["outputs"] == ["label", "label_probs"]
    assert spec.description.predictedFeatureName == "label"
    function = spec.mlProgram.functions["main"]
    operations = function.block_specializations[function.opset].operations
    (classify,) = (o for o in operations if o.type == "classify")
    values = constants(operations)
    assert operand(classify, "classes", values) == list(LABELS)
    # The normalisation: a gain and a shift a channel, as one operator on the pixels.
    first = next(o for o in operations if operand(o, "x", {"image": "image"}) == "image")
    assert first.type == "batch_norm"
    gain, shift, mean, variance = (
        operand(first, key, values) for key in ("gamma", "beta", "mean", "variance")
    )
    pixels = np.array([[0, 128, 255]] * 3, np.float64).T
    found = (pixels - mean) / np.sqrt(variance) * gain + shift
    np.testing.assert_allclose(found, (pixels / 255 - MEAN) / STD, rtol=1e-5, atol=1e-5)


def operand(operation, key, values):
    """Return what an operator takes, by name or held in place; None where that is not known."""
    if key not in operation.inputs:
        return None
    (argument,) = operation.inputs[key].arguments
    return values.get(argument.name) if argument.name else held(argument.value)


def held(value):
    if value.immediateValue.WhichOneof("value") == "list":
        return [held(item)[0] for item in value.immediateValue.list.values]
    tensor = value.immediateValue.tensor
    kind = tensor.WhichOneof("value")
    return list(getattr(tensor, kind).values) if kind else None


def constants(operations):
    return {o.outputs[0].name: held(o.attributes["val"]) for o in operations if o.type == "const"}


@torch.no_grad()
@pytest.mark.parametrize("labels", [None, LABELS])
def test_what_core_ml_is_converted_from_takes_pixels(labels, tmp_path):
    network = make(small())
    facts = export_facts(network, True, labels)
    job = Job(network, True, facts, tmp_path / "net", "float32", 1, None, True)
    side = network.architecture.resolution
    pixels = torch.randint(0, 256, (1, 3, side, side)).float()
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (MEAN, STD))
    expected = network((pixels / 255 - mean) / std)
    found = Deployed(job, network)(pixels)
    assert distance(found, expected if labels is None else expected.softmax(1)) < 1e-4


def test_core_ml_of_a_tensor_takes_what_is_normalised(tmp_path):
    pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    small().to_yaml(tmp_path / "small.yaml")
    out = tmp_path / "net.mlpackage"
    export(tmp_path / "small.yaml", out, format="coreml", input="tensor", batch="2")
    (taken,) = package(out).get_spec().description.input
    assert (taken.name, list(taken.type.multiArrayType.shape)[:2]) == ("input", [2, 3])


def test_core_ml_wants_labels_that_differ(tmp_path):
    pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    small().to_yaml(tmp_path / "small.yaml")
    labels = tmp_path / "labels.txt"
    labels.write_text("crane\nbird\ncrane\n")
    with pytest.raises(UserError, match="'crane' names two classes"):
        export(tmp_path / "small.yaml", tmp_path / "a.mlpackage", format="coreml", labels=labels)
    assert export(tmp_path / "small.yaml", tmp_path / "a.onnx", labels=labels)["num_classes"] == 3


FAMILIES = ["shvit_s1", "swiftformer_xs", "efficientvit_b0", "efficientmod_xxs"]


def check_code_alone(architectures, folder):
    """Write networks as code, and run all of it where effsearch cannot be imported."""
    expected = {}
    for number, architecture in enumerate(architectures):
        network = make(architecture, None)
        checkpoint, out = folder / f"{number}.pt", folder / f"network_{number}.py"
        save_network(network, checkpoint, True)
        export(checkpoint, out, format="python")
        images = torch.randn(2, 3, *2 * [architecture.resolution])
        torch.save(images, f"{out}.input")
        with torch.no_grad():
            expected[out] = network(images)
    command = [sys.executable, "-c", ALONE, *map(str, expected)]
    subprocess.run(command, check=True, cwd=folder, env={"PATH": ""})
    for out, logits in expected.items():
        assert distance(torch.load(f"{out}.output"), logits) < 1e-5
        assert "effsearch" not in out.read_text().partition('"""\n\nfrom')[2]
        assert max(map(len, out.read_text().splitlines())) <= 100


def test_code_of_each_family_stands_alone(tmp_path):
    check_code_alone(map(zoo.load, FAMILIES), tmp_path)


@pytest.mark.slow
def test_code_of_the_zoo_and_of_mixtures_stands_alone(tmp_path):
    rng = np.random.default_rng(0)
    space = SearchSpace.load("mobile")
    check_code_alone(
        [*map(zoo.load, zoo.names()), *(space.sample(rng) for _ in range(8))], tmp_path
    )


def test_code_is_never_beside_the_weights_of_another_export(trained, tmp_path, monkeypatch):
    path, _ = trained
    out = tmp_path / "net.py"
    export(path, out, format="python")
    replace = Path.replace

    def killed(source, target):
        if target == out:
            raise KeyboardInterrupt
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        export(path, out, format="python", force=True)
    assert not out.exists()


@pytest.mark.parametrize("name", FORMATS)
def test_any_name_is_taken_and_an_earlier_export_replaced(name, tmp_path, capfd):
    if name == "coreml":
        pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    small().to_yaml(tmp_path / "small.yaml")
    out = tmp_path / ("net.any" if name != "safetensors" else "net.safetensors")
    for seed in range(2):
        export(tmp_path / "small.yaml", out, format=name, seed=seed, force=True)
    assert out.is_dir() == (name == "coreml")
    weights = ["net.weights.pt"] if name == "python" else []
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([out.name, "small.yaml", *weights])
    assert name == "coreml" or capfd.readouterr().err == ""


def test_names_in_files_are_no_code(tmp_path):
    architecture = small().renamed('x""";raise SystemExit;"""')
    path = tmp_path / "small.yaml"
    architecture.to_yaml(path)
    labels = tmp_path / "labels.txt"
    labels.write_text('"""\n\\\n\'); raise SystemExit\n')
    out = tmp_path / "net.py"
    export(path, out, format="python", labels=labels)
    names = {"__name__": "net", "__file__": str(out)}
    exec(out.read_text(), names)
    assert names["LABELS"] == ('"""', "\\", "'); raise SystemExit")
    assert Architecture.from_yaml(path).digest() in names["__doc__"]
