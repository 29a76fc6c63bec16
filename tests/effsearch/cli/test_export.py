import errno

import onnxruntime as ort
import pytest
import torch
import yaml

from effsearch.training import checkpoint
from effsearch.training.recipe import Recipe
from searchspace import Architecture, build

ARCHITECTURE = """\
resolution: 64
stem: {type: shvit, stride: 4, width: 16}
stages:
- width: 16
  blocks: [{type: efficient_mod, depth: 1, kernel: 5}]
- width: 32
  downsample: {type: conv_bn}
  blocks: [{type: lite_mla, heads: 2, head_dim: 0}, {type: shsa, heads: 2}]
head: {type: shvit}
"""


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(ARCHITECTURE)
    return path


def test_onnx_is_checked_and_runs(effsearch, target, tmp_path):
    out = tmp_path / "small.onnx"
    status, body, _ = effsearch("export", target, "--out", out, "--classes", "7", "--json")
    assert status == 0
    assert not body["trained"]
    logits = ort.InferenceSession(str(out)).run(None, {"input": torch.randn(1, 3, 64, 64).numpy()})[
        0
    ]
    assert logits.shape == (1, 7)


def test_torch_holds_what_builds_the_network_again(effsearch, target, tmp_path):
    out = tmp_path / "small.pt"
    assert effsearch("export", target, "--format", "torch", "--out", out)[0] == 0
    held = torch.load(out, weights_only=True)
    (tmp_path / "again.yaml").write_text(held["architecture"])
    network = build(Architecture.from_yaml(tmp_path / "again.yaml"), held["num_classes"])
    network.load_state_dict(held["state_dict"])


def test_core_ml_says_what_it_needs_or_converts(effsearch, target, tmp_path):
    out = tmp_path / "small.mlpackage"
    status, _, err = effsearch("export", target, "--format", "coreml", "--out", out)
    try:
        import coremltools  # noqa: F401
    except ImportError:
        assert status == 2
        assert "pip install" in err
    else:
        assert status == 0
        assert out.exists()


def test_official_weights_fit_published_networks_only(effsearch, target, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save({"model": {"x": torch.zeros(1)}}, weights)
    status, _, err = effsearch("export", target, "--weights", weights)
    assert status == 2
    assert "published networks only" in err
    status, _, err = effsearch("export", "shvit_s1", "--weights", weights)
    assert status == 2
    assert "patch_embed.0.c.weight" in err


def trained(path, architecture):
    """Write a checkpoint as `effsearch train` does."""
    network = build(architecture, 3)
    checkpoint.Checkpoint(
        architecture.to_yaml(),
        architecture.digest(),
        network.state_dict(),
        ("a", "b", "c"),
        Recipe(),
        1,
        50.0,
        {},
    ).save(path)
    return path


@pytest.mark.parametrize("format_", ["torch", "onnx"])
@pytest.mark.parametrize("name", ["model.pt", "last.pt"])
def test_a_checkpoint_of_a_nameless_network_is_never_overwritten(
    effsearch, target, tmp_path, monkeypatch, format_, name
):
    monkeypatch.chdir(tmp_path)
    path = trained(tmp_path / name, Architecture.from_yaml(target))
    before = path.read_bytes()
    for more in ([], ["--force"], ["--force", "--out", name]):
        effsearch("export", name, "--format", format_, *more)
        assert path.read_bytes() == before
    status, _, err = effsearch("export", target, "--weights", name, "--out", name, "--force")
    assert status == 2
    assert "is what is exported" in err
    assert path.read_bytes() == before


def test_what_exists_is_replaced_with_force_only(effsearch, target, tmp_path):
    out = tmp_path / "small.onnx"
    out.write_text("mine")
    status, _, err = effsearch("export", target, "--out", out)
    assert status == 2
    assert "--force" in err
    assert out.read_text() == "mine"
    assert effsearch("export", target, "--out", out, "--force")[0] == 0
    assert ort.InferenceSession(str(out))


@pytest.mark.parametrize("format_", ["torch", "onnx"])
def test_on_a_full_disk_what_was_there_stays(effsearch, target, tmp_path, monkeypatch, format_):
    out = tmp_path / "small"
    out.write_text("earlier")

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", refuse)
    monkeypatch.setattr("pathlib.Path.replace", refuse)
    status, _, err = effsearch("export", target, "--out", out, "--force", "--format", format_)
    assert status == 1
    assert "No space left on device" in err
    assert out.read_text() == "earlier"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["small", "small.yaml"]


@pytest.mark.parametrize("name", ["../../X", "/tmp/X", "..", ".hidden", "a\\b:c"])
def test_a_name_in_a_file_is_no_path(effsearch, target, tmp_path, monkeypatch, name):
    body = yaml.safe_load(target.read_text())
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    (inside / "named.yaml").write_text(yaml.safe_dump({"name": name, **body}))
    before = set(tmp_path.rglob("*"))
    status, body, _ = effsearch("export", "named.yaml", "--json")
    assert status == 0
    (new,) = set(tmp_path.rglob("*")) - before
    assert new.parent == inside
    assert not new.name.startswith(".")
    assert new.name == body["path"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_out_of_the_wrong_kind_is_a_wrong_request(effsearch, target, tmp_path, kind):
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "x.onnx" if kind == "file" else tmp_path
    status, _, err = effsearch("export", target, "--out", out)
    assert status == 2
    assert "--out" in err
    assert len(err.splitlines()) == 1


def test_one_class_is_checked_as_well(effsearch, target, tmp_path):
    out = tmp_path / "small.onnx"
    status, body, _ = effsearch("export", target, "--out", out, "--classes", "1", "--json")
    assert status == 0
    assert "agrees" in body["check"]


@pytest.mark.parametrize(
    "key", ["version", "architecture", "digest", "state_dict", "classes", "recipe", "epoch"]
)
def test_a_checkpoint_that_lacks_a_key_is_told(effsearch, target, tmp_path, key):
    path = trained(tmp_path / "model.pt", Architecture.from_yaml(target))
    held = torch.load(path, weights_only=True)
    for content in ({k: v for k, v in held.items() if k != key}, {**held, key: [{}]}):
        torch.save(content, path)
        status, _, err = effsearch("export", path, "--out", tmp_path / "x.onnx")
        assert status == 2
        assert len(err.splitlines()) == 1
        assert str(path) in err


def test_features_are_written_and_checked(effsearch, target, tmp_path):
    out = tmp_path / "features.onnx"
    status, body, _ = effsearch("export", target, "--features-only", "--out", out, "--json")
    assert status == 0
    assert body["outputs"] == ["feature_0", "feature_1"]
    assert "agrees" in body["check"]
    maps = ort.InferenceSession(str(out)).run(None, {"input": torch.randn(1, 3, 64, 64).numpy()})
    assert [m.shape for m in maps] == [(1, 16, 16, 16), (1, 32, 8, 8)]
    last = ("--features-only", "--out-indices", "1", "--force")
    status, body, _ = effsearch("export", target, *last, "--out", out, "--json")
    assert body["outputs"] == ["feature_1"]


def test_features_carry_the_weights_of_a_trained_network(effsearch, target, tmp_path):
    architecture = Architecture.from_yaml(target)
    torch.manual_seed(1)
    network = build(architecture, 3).eval()
    held = tmp_path / "network.pt"
    checkpoint.Checkpoint(
        architecture=architecture.to_yaml(),
        digest=architecture.digest(),
        state_dict=network.state_dict(),
        classes=("a", "b", "c"),
        recipe=Recipe(),
        epoch=1,
        top1=0.0,
        training={},
    ).save(held)
    out = tmp_path / "features.onnx"
    status, body, _ = effsearch("export", held, "--features-only", "--out", out, "--json")
    assert (status, body["trained"]) == (0, True)
    x = torch.randn(1, 3, 64, 64)
    maps = ort.InferenceSession(str(out)).run(None, {"input": x.numpy()})
    with torch.no_grad():
        expected = build(architecture, features_only=True).load_network(network).eval()(x)
    for found, own in zip(maps, expected, strict=True):
        torch.testing.assert_close(torch.from_numpy(found), own, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out-indices", "1"), "--out-indices: only maps have some; add --features-only"),
        (("--features-only", "--out-indices", "a"), "--out-indices: a is not a list of stages"),
        (("--features-only", "--out-indices", "2"), "2 is not a stage; the network has 2, 0 to 1"),
        (("--features-only", "--format", "torch"), "drop --features-only or --format torch"),
    ],
)
def test_features_that_cannot_be_written_are_told(effsearch, target, arguments, message):
    status, _, errors = effsearch("export", target, *arguments)
    assert status == 2
    assert message in errors


def test_core_ml_takes_features_and_segmentation_networks(effsearch, target, tmp_path):
    coremltools = pytest.importorskip("coremltools", reason="the extra `coreml` is not installed")
    for arguments, outputs in (
        ((target, "--features-only"), ["feature_0", "feature_1"]),
        (("efficientvit_seg_b0_cityscapes", "--resolution", "64x128"), ["logits"]),
    ):
        out = tmp_path / "network.mlpackage"
        wanted = ("--format", "coreml", "--out", out, "--force", "--json")
        status, body, _ = effsearch("export", *arguments, *wanted)
        assert status == 0
        assert body["outputs"] == outputs
        spec = coremltools.models.MLModel(str(out), skip_model_load=True).get_spec()
        assert [output.name for output in spec.description.output] == outputs


def test_a_segmentation_network_is_described_priced_and_exported(effsearch, tmp_path):
    name, wide = "efficientvit_seg_b0_cityscapes", ("--resolution", "128x256", "--json")
    _, described, _ = effsearch("describe", name, *wide)
    assert described["params"] == 706691
    assert described["units"][-1]["output_shape"] == [1, 19, 16, 32]
    _, priced, _ = effsearch("predict", name, *wide, "--device", "iphone12")
    parts = {part["name"] for part in priced["predictions"][0]["breakdown"]}
    assert {"laterals.0", "laterals.2", "head"} <= parts
    out = tmp_path / "segmenter.onnx"
    status, body, _ = effsearch("export", name, *wide, "--out", out)
    assert status == 0
    assert body["num_classes"] == 19
    session = ort.InferenceSession(str(out))
    assert session.get_outputs()[0].shape == [1, 19, 16, 32]
    status, _, errors = effsearch("describe", name, "--resolution", "500x1000")
    assert status == 2
    assert "512x1024 would do" in errors


def test_what_is_for_classifiers_refuses_segmentation_networks(effsearch, tmp_path):
    name = "efficientvit_seg_b0_cityscapes"
    for arguments in (
        ("score", name),
        ("train", name, "--data", tmp_path, "--out", tmp_path / "out"),
        ("run", "--budget-ms", "2", "--device", "iphone12", "--enqueue", name),
    ):
        status, _, errors = effsearch(*arguments)
        assert status == 2
        assert f"{name}: a segmentation network" in errors


@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_an_export_is_a_target_of_every_command(effsearch, target, tmp_path, suffix):
    format_ = "torch" if suffix == "pt" else suffix
    out = tmp_path / f"net.{suffix}"
    assert effsearch("export", target, "--format", format_, "--out", out)[0] == 0
    device = ("--device", "iphone12")
    for command in (
        ("predict", out, *device),
        ("describe", out),
        ("score", out),
        ("measure", out, "--seconds", "0.05"),
        ("export", out, "--out", tmp_path / "again.onnx"),
        ("export", target, "--weights", out, "--out", tmp_path / "more.onnx"),
    ):
        status, _, err = effsearch(*command)
        assert (status, command[0]) == (0, command[0]), err


@pytest.mark.parametrize("batch", ["4", "dynamic"])
def test_an_onnx_file_of_any_batch_is_priced_as_one_image(effsearch, target, tmp_path, batch):
    parts = {}
    for kind in ("1", batch):
        out = tmp_path / f"{kind}.onnx"
        effsearch("export", target, "--batch", kind, "--out", out)
        status, body, _ = effsearch("describe", out, "--json")
        assert status == 0
        parts[kind] = body["macs"]
    assert parts[batch] == parts["1"] * (4 if batch == "4" else 1)


def test_labels_are_the_checkpoint_s_or_a_file_s(effsearch, target, tmp_path):
    path = trained(tmp_path / "model.pt", Architecture.from_yaml(target))
    out = tmp_path / "a.onnx"
    _, body, _ = effsearch("export", path, "--out", out, "--json")
    assert body["labels"] == ["a", "b", "c"]
    names = tmp_path / "names.txt"
    names.write_text("x\ny\nz\n")
    for given in (path, target):
        wanted = ("--labels", names, "--out", out, "--force", "--json")
        _, body, _ = effsearch("export", given, *wanted)
        assert (body["labels"], body["num_classes"]) == (["x", "y", "z"], 3)
    names.write_text("x\n")
    status, _, err = effsearch("export", path, "--labels", names, "--out", out, "--force")
    assert (status, "has 1 names for 3 classes" in err) == (2, True)
    status, _, err = effsearch("export", path, "--classes", "4", "--out", out, "--force")
    assert (status, "the weights have 3, not 4; drop --classes" in err) == (2, True)


def test_code_is_two_files_and_neither_is_overwritten(effsearch, target, tmp_path):
    out, weights = tmp_path / "net.py", tmp_path / "net.weights.pt"
    weights.write_text("mine")
    status, _, err = effsearch("export", target, "--format", "python", "--out", out)
    assert (status, f"{weights} exists" in err) == (2, True)
    assert weights.read_text() == "mine"
    assert not out.exists()


@pytest.mark.parametrize(("format_", "name"), [("safetensors", "a.pt"), ("torch", "a.safetensors")])
def test_a_suffix_tells_which_format_a_network_is_in(effsearch, target, tmp_path, format_, name):
    status, _, err = effsearch("export", target, "--format", format_, "--out", tmp_path / name)
    assert (status, "is the end of --format safetensors" in err) == (2, True)
    assert not (tmp_path / name).exists()
