"""A block type of another package keeps the contract of ours, and is used like one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from searchspace import SearchSpace, UserError, build, deploy, operators
from searchspace.architecture import block
from searchspace.block_type import BlockType
from searchspace.extensions import Registry
from searchspace.operators import clear_caches, unit_operators
from searchspace.schema import BLOCKS
from searchspace.supernet import Supernet
from searchspace.unit_modules import make_unit
from searchspace.units import block_unit
from tests.fixtures.outside_package import SPACE, forget_blocks, install


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return install(tmp_path_factory.mktemp("package") / "site")


@pytest.fixture(autouse=True)
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(site)
    forget_blocks()
    yield
    forget_blocks()


@pytest.fixture
def samples():
    space = SearchSpace.load(SPACE)
    rng = np.random.default_rng(0)
    return [space.sample(rng) for _ in range(6)]


@pytest.mark.parametrize("options", [{}, {"expansion": 1.5, "kernel": 5}])
def test_it_keeps_the_contract(options, same_when_deployed, operators_agree, randomised):
    for width, size in ((16, (7, 5)), (48, (2, 2))):
        unit = block_unit(block("gated_conv", 1, **options), width, size, 0)
        same_when_deployed(unit)
        operators_agree(unit)
        module = randomised(make_unit(unit)).train()
        x = torch.randn(2, *unit.input_shape[1:])
        y = module(x)
        assert y.shape == x.shape
        y.square().mean().backward()
        assert all(p.grad is not None and p.grad.any() for p in module.parameters())


def test_a_space_with_it_is_sampled_encoded_and_built(samples):
    space = SearchSpace.load(SPACE)
    assert any(b.type == "gated_conv" for a in samples for s in a.stages for b in s.blocks)
    for architecture in samples:
        assert architecture in space
        assert space.decode(space.encode([architecture])[0]) == architecture
        net = build(architecture, num_classes=5).eval()
        with torch.no_grad():
            x = torch.randn(1, 3, 64, 64)
            torch.testing.assert_close(deploy(net)(x), net(x), rtol=1e-4, atol=1e-4)
        assert "other" not in {o.kind for o in operators(architecture, "deploy")}


def test_a_supernet_shares_its_weights(samples):
    torch.manual_seed(0)
    supernet = Supernet(SearchSpace.load(SPACE), 5).eval()
    for architecture in samples:
        x = torch.randn(2, 3, 64, 64)
        with torch.no_grad():
            alone = supernet.extract(architecture).eval()(x)
            torch.testing.assert_close(supernet.activate(architecture)(x), alone)
    assert any(b.type == "gated_conv" for a in samples for s in a.stages for b in s.blocks)


def test_without_a_sharing_rule_a_supernet_refuses_it():
    BLOCKS._loaded["gated_conv"] = replace(BLOCKS["gated_conv"], sharing=None)
    with pytest.raises(UserError, match=r"blocks\.gated_conv: its type has no sharing rule"):
        Supernet(SearchSpace.load(SPACE), 5)


def test_what_cannot_be_loaded_says_so_in_one_line_when_it_is_asked_for():
    fresh = Registry("searchspace.blocks", {"shsa": BLOCKS["shsa"]}, BlockType)
    assert fresh["shsa"] is BLOCKS["shsa"]
    assert set(fresh) == {"shsa", "gated_conv", "broken_conv", "no_block"}
    with pytest.raises(UserError, match=r"broken_conv of the package example-plugin cannot be"):
        block("broken_conv", 1)
    with pytest.raises(UserError, match=r"no_block of the package example-plugin is type, not Blo"):
        block("no_block", 1)
    with pytest.raises(UserError, match=r"gated_conv.kernel: 4 is not an odd|block.kernel: 4"):
        block("gated_conv", 1, kernel=4)
    with pytest.raises(KeyError):
        fresh["nothing"]


def test_a_torch_function_without_an_onnx_form_is_named(monkeypatch):
    unit = block_unit(block("gated_conv", 1), 24, (6, 6), 0)
    clear_caches()
    monkeypatch.setattr(
        BLOCKS["gated_conv"].make, "forward", lambda self, x: torch.roll(x, 1, dims=1)
    )
    with pytest.raises(UserError, match=r"block gated_conv: no ONNX form .* 'roll'; use"):
        unit_operators(unit, "train")
