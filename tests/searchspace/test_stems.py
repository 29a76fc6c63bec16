"""The contract of stems: every type at every stride it allows."""

from __future__ import annotations

import pytest
import torch

from searchspace import registry, schema
from searchspace.architecture import stem
from searchspace.resolution import reduced
from searchspace.unit_modules import make_unit
from searchspace.units import Unit

CASES = [
    pytest.param(
        Unit(
            "stem",
            name,
            3,
            width,
            size,
            (("stride", stride), *stem(name, width=width, stride=stride, **options).options),
        ),
        id=f"{name}-stride{stride}-width{width}-{size[0]}x{size[1]}-{options}",
    )
    for name, spec in schema.STEMS.items()
    for stride in spec.strides
    for width, size in ((16, (32, 32)), (40, (50, 38)))
    for options in ([{}, {"depth": 2}] if "depth" in spec.options else [{}])
]
contract = pytest.mark.parametrize("unit", CASES)


def test_schema_and_registry_agree():
    assert set(schema.STEMS) == set(registry.STEMS)
    assert {stride for spec in schema.STEMS.values() for stride in spec.strides} == {2, 4, 8, 16}


@contract
def test_output_size_is_rounded_up(unit, randomised):
    y = randomised(make_unit(unit))(torch.randn(2, 3, *unit.size))
    size = reduced(unit.size, dict(unit.options)["stride"])
    last = schema.STEMS[unit.type].layout == schema.CHANNELS_LAST
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
    module(torch.randn(4, 3, *unit.size)).square().mean().backward()
    dead = [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()]
    # A bias before batch norm has no effect in training: its gradient is zero but for rounding.
    assert all(p.grad is not None for p in module.parameters())
    assert [n for n in dead if not n.endswith("conv.bias")] == []
