"""The two references whose latency tells how fast the machine is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from effsearch.latency.timing.interleaved import take_turn
from effsearch.latency.timing.machine_speed import Speed
from effsearch.latency.timing.onnx_runtime import random_feeds, session

_SIDE = 256
_PRODUCTS = 4
_PRODUCT_RUNS = 3
_NETWORK_RUNS = 2


class Pace:
    """The references, ready to run; a call runs both, in about 10 ms, and returns the speed.

    Args:
        reference: the reference network's file.
        threads: of one operator.
    """

    def __init__(self, reference: Path | bytes, threads: int) -> None:
        self._network = runner(reference, threads)
        self._product = runner(product_model(), threads)
        self()

    def __call__(self) -> Speed:
        """Return the machine's speed at this moment."""
        product = take_turn(self._product, 0.0, _PRODUCT_RUNS)
        network = take_turn(self._network, 0.0, _NETWORK_RUNS)
        return Speed(network.median_ms, product.median_ms)


def runner(model: Path | bytes, threads: int) -> Callable[[], object]:
    """Return a run of a model whose threads rest in between."""
    opened = session(model, threads, rests=True)
    return partial(opened.run, [opened.get_outputs()[0].name], random_feeds(opened))


def product_model() -> bytes:
    """Return a model of products whose one weight stays in the core's own cache."""
    weight = np.random.default_rng(0).standard_normal((_SIDE, _SIDE)).astype(np.float32) / 16
    names = ["x", *(f"v{i}" for i in range(_PRODUCTS - 1)), "y"]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)],
        "product",
        [tensor("x", TensorProto.FLOAT, [_SIDE, _SIDE])],
        [tensor("y", TensorProto.FLOAT, [_SIDE, _SIDE])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 20)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())
