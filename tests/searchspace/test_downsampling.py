"""The contract of downsamplings."""

from __future__ import annotations

import pytest
import torch

from searchspace import registry, schema
from searchspace.architecture import downsample
from searchspace.resolution import reduced
from searchspace.unit_modules import make_unit
from searchspace.units import Unit

GRID = {
    "patch_merging": [{}, {"expansion": 2.5, "ffn_expansion": 1.0}],
    "mbconv": [{}, {"expansion": 3.0, "fewer_norm": True}],
    "conv_ln": [{}],
    "conv_bn": [{}],
}
CASES = [
    pytest.param(
        Unit("downsample", name, in_width, width, size, downsample(name, **options).options),
        id=f"{name}-{number}-{in_width}to{width}-{size[0]}x{size[1]}",
    )
    for name, grid in GRID.items()
    for number, options in enumerate(grid)
    for in_width, width, size in ((16, 32, (8, 8)), (48, 40, (7, 12)), (16, 16, (3, 3)))
]
contract = pytest.mark.parametrize("unit", CASES)


def test_schema_and_registry_agree():
    assert set(schema.DOWNSAMPLINGS) == set(registry.DOWNSAMPLINGS) == set(GRID)


@contract
def test_output_size_is_half_rounded_up(unit, randomised):
    y = randomised(make_unit(unit))(torch.randn(2, *unit.input_shape[1:]))
    size = reduced(unit.size, 2)
    last = schema.DOWNSAMPLINGS[unit.type].layout == schema.CHANNELS_LAST
    assert tuple(y.shape) == ((2, *size, unit.width) if last else (2, unit.width, *size))
    assert torch.isfinite(y).all()


@contract
def test_deployed_form_is_the_same_function(unit, same_when_deployed):
    same_when_deployed(unit)


@contract
def test_operators_agree_with_the_module(unit, operators_agree):
    operators_agree(unit)


@contract
def test_gradient_reaches_every_parameter(unit, randomised):
    module = randomised(make_unit(unit)).train()
    module(torch.randn(4, *unit.input_shape[1:])).square().mean().backward()
    assert all(p.grad is not None for p in module.parameters())
    dead = [n for n, p in module.named_parameters() if not p.grad.any()]
    # A bias before batch norm has no effect in training: its gradient is zero but for rounding.
    assert [n for n in dead if not n.endswith("conv.bias")] == []


def test_squeeze_excite_rounds_its_width_to_eight():
    unit = Unit("downsample", "patch_merging", 30, 64, (8, 8), downsample("patch_merging").options)
    assert make_unit(unit).gate.reduce.out_channels == 32  # a quarter of 120 is 30
