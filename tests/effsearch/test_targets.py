import csv
import json

import pytest
import torch

from effsearch.export.request import ExportRequest
from effsearch.export.source import load_source
from effsearch.onnx_io.onnx_files import to_onnx
from effsearch.targets import load_architecture, load_target
from effsearch.training.checkpoint import save_network
from searchspace import UserError, build, operators, zoo


def test_the_three_kinds_of_target_have_the_same_operators(tmp_path):
    architecture = zoo.load("efficientvit_b0")
    yaml_path, onnx_path = tmp_path / "a.yaml", tmp_path / "a.onnx"
    architecture.to_yaml(yaml_path)
    onnx_path.write_bytes(to_onnx(build(architecture)).SerializeToString())
    wanted = [(o.kind, o.macs) for o in operators(architecture, "deploy")]
    for text in ("efficientvit_b0", str(yaml_path), str(onnx_path)):
        assert [(o.kind, o.macs) for o in load_target(text).operators()] == wanted
    assert load_architecture(str(yaml_path)) == architecture


def test_what_is_no_target_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match=r"did you mean shvit_s1\?"):
        load_target("shvit_s11")
    with pytest.raises(UserError, match="no such ONNX file"):
        load_target("missing.onnx")
    with pytest.raises(UserError, match="no such architecture file"):
        load_target("missing.yaml")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(UserError, match="not an ONNX file"):
        load_architecture(str(tmp_path / "a.onnx"))


@pytest.fixture
def run(tmp_path):
    """A run folder with two candidates, a winner, and a winner with weights."""
    folder = tmp_path / "a#run"
    one, two = zoo.load("shvit_s1"), zoo.load("shvit_s2")
    for place, architecture in (("1", one), ("2", two)):
        (folder / "winners" / place).mkdir(parents=True)
        architecture.to_yaml(folder / "winners" / place / "architecture.yaml")
    save_network(build(two, 3), folder / "winners" / "2" / "model.pt", True)
    with (folder / "trials.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["number", "architecture"])
        writer.writerows((n, json.dumps(a.to_dict())) for n, a in ((4, one), (7, two)))
    return folder


def test_a_run_s_networks_are_targets(run):
    one, two = zoo.load("shvit_s1"), zoo.load("shvit_s2")
    assert load_architecture(f"{run}/winners/1") == one
    assert load_target(f"{run}/winners/1").checkpoint is None
    assert load_target(f"{run}/winners/2").checkpoint == run / "winners" / "2" / "model.pt"
    assert load_architecture(f"{run}/winners/2/model.pt") == two
    assert [load_architecture(f"{run}#{n}") for n in (4, 7)] == [one, two]


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("{run}", r"a run has many networks; name a winner's folder \(.*/winners/1\) or"),
        ("{run}#5", r"run: no candidate '5' in trials.csv, whose last is 7$"),
        ("{run}#x", "no candidate 'x'"),
        ("{run}/winners", "a folder without architecture.yaml or model.pt"),
        ("{run}/winners#1", r"no finished run \(it has no trials.csv"),
        ("{run}/trials.csv#1", "neither a published network"),
        ("{run}/none.pt", "does not exist"),
    ],
)
def test_what_is_no_network_of_a_run_is_said(run, what, message):
    with pytest.raises(UserError, match=message):
        load_target(what.format(run=run))


def test_a_table_without_architectures_says_who_writes_them(run):
    (run / "trials.csv").write_text("number,digest\n4,ab\n")
    with pytest.raises(UserError, match=r"no column of architectures; `effsearch run --resume"):
        load_target(f"{run}#4")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_an_exported_network_comes_back_with_its_weights(tmp_path, suffix):
    network = build(zoo.load("shvit_s1"), 5).eval()
    path = tmp_path / f"a{suffix}"
    save_network(network, path, False, {"labels": list("vwxyz")})
    image = torch.randn(1, 3, 224, 224)
    held = load_target(str(path)).stored()
    with torch.no_grad():
        assert torch.equal(held.build()(image), network(image))
    assert (held.trained, held.classes) == (False, tuple("vwxyz"))
    save_network(network, path, False, {"labels": ["v"]})
    with pytest.raises(UserError, match="labels: 1 for 5 classes"):
        load_target(str(path))
    path.write_bytes(b"no such thing")
    with pytest.raises(UserError, match="is damaged or no checkpoint"):
        load_target(str(path))


def test_a_file_of_weights_is_read_once(tmp_path, monkeypatch):
    save_network(build(zoo.load("shvit_s1"), 5), tmp_path / "a.pt", False)
    reads = []
    real = torch.load
    monkeypatch.setattr("torch.load", lambda *a, **k: reads.append(a) or real(*a, **k))
    request = ExportRequest(str(tmp_path / "a.pt"))
    assert load_source(request).network.num_classes == 5
    assert len(reads) == 1
    load_source(ExportRequest("shvit_s1", weights=tmp_path / "a.pt"))
    assert len(reads) == 2


@pytest.mark.parametrize("suffix", [".pt2", ".py", ".mlpackage", ".weights.pt"])
def test_a_deployed_file_says_what_to_name_in_its_stead(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.touch()
    with pytest.raises(UserError, match="only runs; name what was exported"):
        load_target(str(path))


def test_a_damaged_export_is_told(tmp_path):
    torch.save({"format": "effsearch-network", "num_classes": 0}, tmp_path / "b.pt")
    with pytest.raises(UserError, match=r"b.pt: architecture: is missing"):
        load_target(str(tmp_path / "b.pt"))
