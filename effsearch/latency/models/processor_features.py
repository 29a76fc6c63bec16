"""Totals over operators that price networks on a processor, which runs operators one by one.

They count arithmetic, traffic and kernels, and are finer than a phone's in `accelerator_features`
where CPUs differ from accelerators: narrow and large-window convolutions, functions that cost far
more than the memory they pass over, and tensors and weights that outgrow caches.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from effsearch.latency.cost_model import Array
from searchspace.operators import Operator

_PRIOR = Path(__file__).with_name("processor.yaml")
_NARROW = 8  # input channels of a group; vector units are wider
_LARGE = 5  # side of a window that fixed 3 by 3 kernels do not serve
_SPILLS = {"spill.mb": 4.0, "large_spill.mb": 16.0}  # tensors of one operator, MB
# Weights are read once an image, so what counts is whether a cache holds all of a network's.
_BEYOND = {"weight_beyond_8.mb": 8.0, "weight_beyond_32.mb": 32.0}
_COPIES = ("Concat", "Split", "Slice", "Expand", "Gather", "Pad", "Tile")
_ACTIVATIONS = {"Relu": "relu", "Clip": "relu", "LeakyRelu": "relu", "PRelu": "relu"}
_PRODUCTS = ("conv", "pointwise_conv", "depthwise_conv", "grouped_conv")


@lru_cache(maxsize=1)
def prior_card() -> dict[str, Any]:
    """Return what is believed of any processor, as data."""
    card: dict[str, Any] = yaml.safe_load(_PRIOR.read_text("utf-8"))
    return card


def names() -> tuple[str, ...]:
    """Return the totals' names; the first is the run itself, to which no operator adds."""
    return tuple(prior_card()["totals"])


def features(operators: Sequence[Operator]) -> Array:
    """Return the totals of `names`, which add up over operators.

    Args:
        operators: form "deploy".

    Returns:
        Array of shape (len(names()),); the first is 0.
    """
    index = {name: i for i, name in enumerate(names())}
    total = np.zeros(len(index))
    for operator in operators:
        for name, amount in operator_totals(operator):
            total[index[name]] += amount
    return total


def of_network(features: Array, whole: Array | None = None) -> Array:
    """Return totals in which weights beyond a cache are only those that do not fit.

    Of W MB of weights, the share W / (W + c) is taken not to find its place in c MB.

    Args:
        features: of networks, (n, J), or of the parts of one.
        whole: of the network that they are parts of, (J,).
    """
    found = features.copy()
    for name, cache_mb in _BEYOND.items():
        column = names().index(name)
        weights = features[:, column] if whole is None else whole[column]
        found[:, column] *= weights / (weights + cache_mb)
    return found


def operator_totals(operator: Operator) -> list[tuple[str, float]]:
    """Return what one operator adds to the totals: their names with amounts.

    All of its weights count as beyond a cache; see `of_network`.
    """
    gmacs = operator.macs / 1e9
    mb = (operator.input_bytes + operator.output_bytes) / 1e6
    spilled = [(name, mb - limit) for name, limit in _SPILLS.items() if mb > limit]
    weight = [(name, operator.weight_bytes / 1e6) for name in ("weight.mb", *_BEYOND)]
    kind = operator.kind
    if kind in ("activation", "elementwise"):
        name = "elementwise"
        if kind == "activation":
            name = _ACTIVATIONS.get(operator.op, "gelu" if operator.op == "Gelu" else "sigmoid")
        if operator.follows in _PRODUCTS and name in ("relu", "elementwise"):
            return [("fused.mb", mb)]
        return [("dispatch.count", 1.0), (f"{name}.mb", mb), *spilled]
    amounts = [("dispatch.count", 1.0), *spilled]
    if kind in _PRODUCTS:
        grouped = kind == "depthwise_conv"
        name = kind
        if kind == "conv" and operator.input_shape[1] < _NARROW:
            name = "narrow_conv"
        elif kind == "depthwise_conv" and operator.kernel >= _LARGE:
            name = "large_depthwise_conv"
        return [
            *amounts,
            (f"{name}.gmacs", gmacs),
            ("depthwise_conv.mb" if grouped else "conv.mb", mb),
            *weight,
        ]
    if kind == "linear":
        return [*amounts, ("linear.gmacs", gmacs), ("linear.mb", mb), *weight]
    if kind in ("matmul", "attention"):
        return [*amounts, ("matmul.gmacs", gmacs), ("matmul.mb", mb)]
    if kind in ("norm", "softmax", "pool"):
        return [*amounts, (f"{kind}.mb", mb)]
    copied = kind == "movement" and operator.op in _COPIES
    return [*amounts, ("copy.mb" if copied else "transpose.mb", mb)]
