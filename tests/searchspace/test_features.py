"""Backbones: the stages' maps, as a detector's plain FPN and head take them."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from searchspace import UserError, build, deploy, zoo
from searchspace.resolution import reduced
from tests.fixtures.mixtures import mixture

ONE_OF_EACH = ("shvit_s1", "efficientmod_xxs", "swiftformer_xs", "efficientvit_b0")


NETWORKS = [*map(zoo.load, ONE_OF_EACH), *map(mixture, (2, 4, 8, 16))]
every = pytest.mark.parametrize("architecture", NETWORKS, ids=lambda a: a.name or a.stem.type)


class PyramidAndHead(nn.Module):
    """A plain FPN (arXiv 1612.03144) and the shared head of a RetinaNet (1708.02002)."""

    def __init__(self, backbone: nn.Module, width: int = 16, anchors: int = 3) -> None:
        super().__init__()
        self.backbone = backbone
        channels = [entry["num_chs"] for entry in backbone.feature_info]
        self.inner = nn.ModuleList(nn.Conv2d(c, width, 1) for c in channels)
        self.outer = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in channels)
        self.classes = nn.Conv2d(width, anchors * 5, 3, padding=1)
        self.boxes = nn.Conv2d(width, anchors * 4, 3, padding=1)

    def forward(self, x):
        maps = [inner(m) for inner, m in zip(self.inner, self.backbone(x), strict=True)]
        for index in reversed(range(len(maps) - 1)):
            fine, coarse = maps[index : index + 2]
            maps[index] = fine + F.interpolate(coarse, size=fine.shape[2:], mode="nearest")
        maps = [outer(m) for outer, m in zip(self.outer, maps, strict=True)]
        return [(self.classes(m), self.boxes(m)) for m in maps]


@every
def test_maps_are_what_feature_info_says(architecture):
    backbone = build(architecture, features_only=True).eval()
    with torch.no_grad():
        maps = backbone(torch.randn(2, 3, 130, 192))
    assert len(maps) == len(architecture.stages)
    for found, entry in zip(maps, backbone.feature_info, strict=True):
        assert found.shape == (2, entry["num_chs"], *reduced((130, 192), entry["reduction"]))
    assert backbone.feature_info.channels() == [stage.width for stage in architecture.stages]
    assert backbone.feature_info.reduction() == list(architecture.reductions)
    for entry in backbone.feature_info:
        assert isinstance(backbone.get_submodule(entry["module"]), nn.Module)


@every
def test_a_detector_trains_on_it(architecture):
    torch.manual_seed(0)
    backbone = build(architecture, features_only=True)
    detector = PyramidAndHead(backbone).train()
    optimizer = torch.optim.SGD(detector.parameters(), 0.01)
    outputs = detector(torch.randn(2, 3, 160, 224))
    assert len(outputs) == len(architecture.stages)
    sum(c.square().mean() + b.abs().mean() for c, b in outputs).backward()
    before = {name: p.detach().clone() for name, p in backbone.named_parameters()}
    missing = [name for name, p in backbone.named_parameters() if p.grad is None]
    assert missing == []
    optimizer.step()
    moved = [name for name, p in backbone.named_parameters() if not torch.equal(p, before[name])]
    assert any(name.startswith("stem.") for name in moved)
    assert all(torch.isfinite(p).all() for p in detector.parameters())


@every
def test_maps_come_before_the_head_of_the_same_network(architecture, randomised):
    """With a network's weights, its last map under its head is that network."""
    network = randomised(build(architecture, 7)).eval()
    backbone = build(architecture, features_only=True).load_network(network).eval()
    x = torch.randn(1, 3, 128, 192)
    seen = []
    for stage in network.stages:
        stage.blocks[-1].register_forward_hook(lambda _, __, y: seen.append(y))
    with torch.no_grad():
        network(x)
        maps = backbone(x)
    for found, own in zip(maps, seen, strict=True):
        first = own if own.shape == found.shape else own.permute(0, 3, 1, 2)
        assert torch.equal(found, first)


@every
def test_out_indices_choose_and_spare_what_follows(architecture, randomised):
    network = randomised(build(architecture)).eval()
    whole = build(architecture, features_only=True).load_network(network).eval()
    some = build(architecture, features_only=True, out_indices=[1, 0]).load_network(network).eval()
    x = torch.randn(1, 3, 128, 160)
    with torch.no_grad():
        expected, found = whole(x), some(x)
    assert [entry["index"] for entry in some.feature_info] == [0, 1]
    assert all(torch.equal(a, b) for a, b in zip(found, expected[:2], strict=True))
    assert len(some.stages) == 2
    last = build(architecture, features_only=True, out_indices=(-1,))
    assert last.feature_info[0]["index"] == len(architecture.stages) - 1


@every
def test_the_deployed_backbone_is_the_same_function(architecture, randomised):
    backbone = randomised(build(architecture, features_only=True)).eval()
    x = torch.randn(1, 3, 128, 192)
    with torch.no_grad():
        for found, expected in zip(deploy(backbone)(x), backbone(x), strict=True):
            assert (found - expected).norm() <= 1e-5 * expected.norm()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out_indices": (3,)}, "out_indices: 3 is not a stage; the network has 3, 0 to 2"),
        ({"out_indices": (0, -3)}, r"out_indices: \[0, -3\] names a stage twice"),
        ({"out_indices": ()}, "names a stage twice, or none"),
        ({"out_indices": (True,)}, "out_indices: True is not a stage"),
        ({"out_indices": (1,), "features_only": False}, "add features_only=True"),
    ],
)
def test_stages_that_are_not_there_are_told(options, message):
    with pytest.raises(UserError, match=message):
        build(zoo.load("shvit_s1"), **{"features_only": True, **options})
