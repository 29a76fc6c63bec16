import onnxruntime as ort
import pytest
import torch

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
