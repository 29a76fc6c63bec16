"""Totals over operators that price networks on a phone's accelerator.

Core ML runs a fused graph in float16. Activations and elementwise operators that alone consume a
convolution's output run inside it; transposes pad their last axis to 64 bytes (Apple, "Deploying
Transformers on the Apple Neural Engine", 2022); tensors that outgrow the on-chip memory are
spilled; and linear attention's float32 key-value product leaves the accelerator.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchspace.operators import BYTES_PER_VALUE, Operator

FEATURES = (
    "floor.ms",
    "dispatch.count",
    "matmul.count",
    "conv.gmacs",
    "pointwise_conv.gmacs",
    "linear.gmacs",
    "depthwise_conv.gmacs",
    "grouped_conv.gmacs",
    "matmul.gmacs",
    "conv.mb",
    "depthwise_conv.mb",
    "matmul.mb",
    "norm.mb",
    "elementwise.mb",
    "fused.mb",
    "gelu.mb",
    "copy.mb",
    "transpose.mb",
    "spill.mb",
    "linear_attention.gmacs",
    "linear_attention.mb",
)


_INDEX = {name: i for i, name in enumerate(FEATURES)}

TRAITS = ("linear_attention", "channels_last")
_CONVOLUTIONS = ("conv", "pointwise_conv", "depthwise_conv", "grouped_conv", "linear")
_COPIES = ("Concat", "Split", "Slice", "Expand", "Gather")
_BYTES_PER_VALUE = 2  # float16
_LAST_AXIS = 32  # 64 bytes of float16
_SCALE = _BYTES_PER_VALUE / BYTES_PER_VALUE / 1e6  # float32 bytes to float16 MB


@dataclass(frozen=True, slots=True)
class Hardware:
    """The rates of a device that set its operators' floors.

    Attributes:
        peak_gmacs_per_ms: arithmetic peak, 10^9 multiply-accumulates a millisecond.
        weight_mb_per_ms: bandwidth of the memory that holds the weights.
        on_chip_mb: activations of one operator beyond this leave the on-chip memory.
        source: where the figures were published.
    """

    peak_gmacs_per_ms: float
    weight_mb_per_ms: float
    on_chip_mb: float
    source: str = ""


def features(operators: Sequence[Operator], hardware: Hardware) -> NDArray[np.float64]:
    """Return the totals of `FEATURES`, which add up over operators.

    Args:
        operators: of a network, or of any part of one; form "deploy".
        hardware: of the device.

    Returns:
        Array of shape (len(FEATURES),).
    """
    row: NDArray[np.float64] = features_of_many(operators, hardware, 1)[0]
    return row


def features_of_many(
    operators: Sequence[Operator], hardware: Hardware, count: int
) -> NDArray[np.float64]:
    """Return `features` of parts that differ in numbers alone, (count, len(FEATURES)).

    Args:
        operators: of the parts; numbers that differ are arrays (count,).
        hardware: of the device.
        count: of the parts.
    """
    total = np.zeros((len(FEATURES), count))
    for operator in operators:
        for name, amount in operator_totals(operator, hardware):
            total[_INDEX[name]] += amount
    return total.T


def operator_totals(operator: Operator, hardware: Hardware) -> list[tuple[str, Any]]:
    """Return what one operator adds to the totals: names of `FEATURES` with amounts.

    Amounts are arrays where the operator's numbers are.
    """
    gmacs = operator.macs / 1e9
    mb = (operator.input_bytes + operator.output_bytes) * _SCALE
    weight_mb = operator.weight_bytes * _SCALE
    floor = np.maximum(gmacs / hardware.peak_gmacs_per_ms, weight_mb / hardware.weight_mb_per_ms)
    amounts: list[tuple[str, Any]] = [("floor.ms", floor)]
    fused = is_fused(operator)
    if np.any(fused):
        amounts.append(("gelu.mb" if operator.op == "Gelu" else "fused.mb", fused * mb))
    if np.all(fused):
        return amounts
    apart = _apart_totals(operator, hardware, gmacs, mb)
    return [*amounts, *((name, amount * np.logical_not(fused)) for name, amount in apart)]


def _apart_totals(
    operator: Operator, hardware: Hardware, gmacs: float, mb: float
) -> list[tuple[str, Any]]:
    """Return what an operator adds that runs by itself."""
    kind = operator.kind
    product = kind in ("matmul", "attention", "softmax")
    amounts: list[tuple[str, Any]] = [
        ("matmul.count" if product else "dispatch.count", 1.0),
        ("spill.mb", np.maximum(0.0, mb - hardware.on_chip_mb)),
    ]
    if kind in _CONVOLUTIONS:
        grouped = kind in ("depthwise_conv", "grouped_conv")
        amounts += [
            (f"{kind}.gmacs", gmacs),
            ("depthwise_conv.mb" if grouped else "conv.mb", mb),
        ]
    elif kind in ("matmul", "attention"):
        amounts += [("matmul.gmacs", gmacs), ("matmul.mb", mb)]
        linear = is_linear_attention(operator)
        if np.any(linear):
            amounts += [
                ("linear_attention.gmacs", linear * gmacs),
                ("linear_attention.mb", linear * mb),
            ]
    elif kind == "softmax":
        amounts.append(("matmul.mb", mb))
    elif kind == "norm" and operator.op != "BatchNormalization":
        amounts.append(("norm.mb", mb))
    elif kind == "movement" and operator.op in _COPIES:
        amounts.append(("copy.mb", mb))
    elif kind in ("movement", "other"):
        padded = _padded_mb(operator.input_shape) + _padded_mb(operator.output_shape)
        amounts.append(("transpose.mb", padded))
    else:
        amounts.append(("gelu.mb" if operator.op == "Gelu" else "elementwise.mb", mb))
    return amounts


def is_fused(operator: Operator) -> Any:
    """Whether Core ML runs an operator inside its producer; an array where its numbers are."""
    if operator.kind not in ("activation", "elementwise"):
        return False
    if operator.follows in _CONVOLUTIONS:
        return True
    # x * sigmoid(x): the sigmoid shares its input with the product, and the product alone reads it.
    if operator.op == "Sigmoid":
        return not operator.follows
    if operator.op != "Mul" or operator.follows != "activation":
        return False
    return operator.input_bytes == 2 * operator.output_bytes


def is_linear_attention(operator: Operator) -> Any:
    """Whether a product is ReLU linear attention's of values and keys; an array as above.

    It contracts over tokens, and one side has a row of ones more for the normaliser (EfficientViT,
    arXiv 2205.14756, official code): d + 1 by d, unlike any product of softmax attention.
    """
    if len(operator.output_shape) < 2:
        return False
    rows, columns = operator.output_shape[-2:]
    depth = operator.macs // np.maximum(1, math.prod(operator.output_shape))
    return (abs(rows - columns) == 1) & (depth != rows) & (depth != columns)


def trait(operator: Operator) -> str:
    """Return what is unusual about an operator, or nothing.

    Some phones have no measured network with such operators, so their prices come from related
    phones: `linear_attention`, and `channels_last`, linear layers on (N, H, W, C) maps.
    """
    return next((name for name in TRAITS if np.any(has_trait(operator, name))), "")


def has_trait(operator: Operator, name: str) -> Any:
    """Whether an operator has one of `TRAITS`; an array where its numbers are."""
    if name == "linear_attention":
        return operator.kind == "matmul" and is_linear_attention(operator)
    return operator.kind == "linear" and len(operator.input_shape) == 4


def _padded_mb(shape: Sequence[int]) -> Any:
    """Return MB of a float16 tensor whose last axis is padded to 64 bytes."""
    if not shape:
        return 0.0
    last = -(-shape[-1] // _LAST_AXIS) * _LAST_AXIS
    return math.prod(shape[:-1]) * last * _BYTES_PER_VALUE / 1e6
