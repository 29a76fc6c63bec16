"""Folding: each deployed form equals what it replaces, in exact arithmetic."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from searchspace.layers import (
    ConvNormAct,
    LayerScale,
    Residual,
    SqueezeExcite,
    ToLayout,
    deployed,
    fold_affine_after,
    fold_affine_before,
    fold_into_linear,
    fold_norm_after,
    fold_norm_before,
)
from searchspace.schema import CHANNELS_FIRST, CHANNELS_LAST


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(
    groups=st.sampled_from([1, 2, 8]),
    kernel=st.sampled_from([1, 3]),
    stride=st.sampled_from([1, 2]),
    bias=st.booleans(),
)
def test_norm_after_a_convolution(randomised, groups, kernel, stride, bias):
    conv = nn.Conv2d(8, 16, kernel, stride, kernel // 2, groups=groups, bias=bias).double()
    norm = randomised(nn.BatchNorm2d(16)).double().eval()
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    close(fold_norm_after(conv, norm)(x), norm(conv(x)))


@settings(max_examples=10, deadline=None)
@given(bias=st.booleans())
def test_norm_before_a_pointwise_convolution(randomised, bias):
    conv = nn.Conv2d(8, 16, 1, bias=bias).double()
    norm = randomised(nn.BatchNorm2d(8)).double().eval()
    x = torch.randn(2, 8, 5, 5, dtype=torch.float64)
    close(fold_norm_before(conv, norm)(x), conv(norm(x)))


def test_norm_before_a_padded_convolution_is_refused():
    with pytest.raises(AssertionError):
        fold_affine_before(nn.Conv2d(4, 4, 3, padding=1), torch.ones(4), torch.ones(4))


def test_gains_after_a_convolution():
    conv = nn.Conv2d(4, 6, 3, padding=1).double()
    gain = torch.randn(6, 1, 1, dtype=torch.float64)
    x = torch.randn(2, 4, 5, 5, dtype=torch.float64)
    close(fold_affine_after(conv, gain)(x), gain * conv(x))


@pytest.mark.parametrize("bias", [True, False])
def test_norm_and_gain_around_a_linear_layer(randomised, bias):
    linear = nn.Linear(6, 4, bias=bias).double()
    norm = randomised(nn.BatchNorm1d(6)).double().eval()
    gain = torch.randn(4, dtype=torch.float64)
    x = torch.randn(5, 6, dtype=torch.float64)
    close(fold_into_linear(linear, before=norm, after=gain)(x), gain * linear(norm(x)))


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_residual_depthwise_convolution_is_one_convolution(randomised, kernel):
    branch = ConvNormAct(8, 8, kernel, groups=8)
    module = randomised(Residual(branch)).double().eval()
    x = torch.randn(2, 8, 6, 6, dtype=torch.float64)
    expected = module(x)
    merged = deployed(module)
    assert isinstance(merged, nn.Conv2d)
    close(merged(x), expected)


def test_other_residuals_stay(randomised):
    module = randomised(Residual(ConvNormAct(8, 8, 1))).eval()
    x = torch.randn(2, 8, 6, 6)
    expected = module(x)
    merged = deployed(module)
    assert isinstance(merged, Residual)
    torch.testing.assert_close(merged(x), expected)


def test_variances_near_zero_lose_no_digits():
    conv, norm = nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4).eval()
    norm.running_var.fill_(1e-12)
    x = torch.randn(2, 4, 3, 3)
    with torch.no_grad():
        expected = norm.double()(conv.double()(x.double()))
        norm.float()
        found = fold_norm_after(conv.float(), norm)(x)
    assert (found - expected).norm() <= 1e-6 * expected.norm()


@pytest.mark.parametrize(
    ("layout", "shape"), [(CHANNELS_FIRST, (2, 3, 4, 4)), (CHANNELS_LAST, (2, 4, 4, 3))]
)
def test_layer_scale_multiplies_channels(layout, shape):
    scale = LayerScale(3, layout)
    with torch.no_grad():
        scale.gamma.reshape(-1).copy_(torch.tensor([1.0, 2.0, 3.0]))
    y = scale(torch.ones(shape))
    channels = y[0, :, 0, 0] if layout == CHANNELS_FIRST else y[0, 0, 0]
    assert channels.tolist() == [1.0, 2.0, 3.0]


def test_layouts_are_each_others_inverse():
    x = torch.randn(2, 3, 4, 5)
    there = ToLayout(CHANNELS_LAST)(x)
    assert there.shape == (2, 4, 5, 3)
    assert torch.equal(ToLayout(CHANNELS_FIRST)(there), x)


def test_squeeze_excite_gates_channels_between_nothing_and_all():
    x = torch.randn(2, 16, 4, 4)
    ratio = SqueezeExcite(16)(x) / x
    assert ((ratio > 0) & (ratio < 1)).all()
    assert torch.allclose(ratio, ratio[:, :, :1, :1].expand_as(ratio), atol=1e-5)
