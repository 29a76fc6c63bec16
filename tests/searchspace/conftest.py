"""What the tests of the design space share."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from searchspace.layers import LayerScale, deployed
from searchspace.operators import unit_operators
from searchspace.unit_modules import make_unit
from searchspace.units import Unit


@pytest.fixture(autouse=True)
def _reproducible():
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data():
    """Folder of the project's measured and published data."""
    folder = os.environ.get("EFFSEARCH_DATA")
    if not folder:
        pytest.skip("EFFSEARCH_DATA is unset")
    return Path(folder)


@pytest.fixture(scope="session")
def randomised():
    """Give a module random norms and layer scales, none of them zero or neutral."""

    def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
        draw = torch.Generator().manual_seed(seed)

        def uniform(tensor, low, high):
            with torch.no_grad():
                tensor.copy_(torch.rand(tensor.shape, generator=draw) * (high - low) + low)

        for part in module.modules():
            if isinstance(part, LayerScale):
                uniform(part.gamma, 0.2, 0.8)
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
                uniform(part.running_mean, -0.3, 0.3)
                uniform(part.running_var, 0.5, 1.5)
            if isinstance(part, nn.modules.batchnorm._BatchNorm | nn.GroupNorm | nn.LayerNorm):
                uniform(part.weight, 0.5, 1.5)
                uniform(part.bias, -0.3, 0.3)
        return module

    return randomise


@pytest.fixture(scope="session")
def fvcore_macs():
    """Count the multiply-accumulates of a module in eval mode as fvcore does."""

    def count(module: nn.Module, shape) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            analysis = FlopCountAnalysis(module.eval(), torch.zeros(shape))
            analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            return int(analysis.total())

    return count


@pytest.fixture(scope="session")
def spread_error():
    """Return the greatest difference of two tensors over the spread of the second."""

    def error(found: torch.Tensor, expected: torch.Tensor) -> float:
        return float((found - expected).abs().max() / expected.std())

    return error


@pytest.fixture(scope="session")
def same_when_deployed(randomised):
    """Check that a unit's deployed form computes what it computes in eval mode."""

    def check(unit: Unit) -> None:
        module = randomised(make_unit(unit)).eval()
        x = torch.randn(2, *unit.input_shape[1:])
        with torch.no_grad():
            expected = module(x)
            found = deployed(module)(x)
        assert (found - expected).norm() <= 1e-5 * expected.norm()

    return check


@pytest.fixture(scope="session")
def operators_agree(fvcore_macs):
    """Check a unit's operators against its module and fvcore."""

    def check(unit: Unit) -> None:
        module = make_unit(unit)
        listed = unit_operators(unit, "train")
        assert sum(o.params for o in listed) == sum(p.numel() for p in module.parameters())
        assert sum(o.macs for o in listed) == fvcore_macs(module, unit.input_shape)
        assert "other" not in {o.kind for o in listed}

    return check
