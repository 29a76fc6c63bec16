"""The contract of classification heads."""

from __future__ import annotations

import pytest
import torch

from searchspace import registry, schema
from searchspace.architecture import head
from searchspace.unit_modules import make_unit
from searchspace.units import Unit

GRID = {
    "shvit": [{}],
    "swiftformer": [{"distillation": True}, {"distillation": False}],
    "efficientvit": [{"conv_width": 64, "linear_width": 80}],
    "efficientmod": [{}],
}
CASES = [
    pytest.param(
        Unit("head", name, width, classes, size, head(name, **options).options),
        id=f"{name}-{number}-width{width}-{size[0]}x{size[1]}",
    )
    for name, grid in GRID.items()
    for number, options in enumerate(grid)
    for width, size, classes in ((16, (7, 5), 10), (48, (2, 2), 3))
]
contract = pytest.mark.parametrize("unit", CASES)


def test_schema_and_registry_agree():
    assert set(schema.HEADS) == set(registry.HEADS)
    classifiers = {n for n, spec in schema.HEADS.items() if spec.task == schema.CLASSIFICATION}
    assert classifiers == set(GRID)
    assert set(registry.LATERALS) == set(schema.HEADS) - classifiers


@contract
def test_gives_logits(unit, randomised):
    y = randomised(make_unit(unit))(torch.randn(3, *unit.input_shape[1:]))
    assert tuple(y.shape) == (3, unit.width)
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
    logits = module(torch.randn(4, *unit.input_shape[1:]))
    torch.nn.functional.cross_entropy(logits, torch.arange(4) % unit.width).backward()
    assert [n for n, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []


@contract
def test_positions_are_averaged(unit, randomised):
    """Moving the positions about changes nothing."""
    module = randomised(make_unit(unit)).eval()
    x = torch.randn(2, *unit.input_shape[1:])
    flipped = x.flip(1, 2) if module_is_channels_last(unit) else x.flip(2, 3)
    torch.testing.assert_close(module(flipped), module(x), rtol=1e-4, atol=1e-5)


def module_is_channels_last(unit):
    return schema.HEADS[unit.type].layout == schema.CHANNELS_LAST
