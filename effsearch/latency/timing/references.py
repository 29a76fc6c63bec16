"""The two references whose latency tells how fast the machine is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from effsearch.latency.machine_speed import MachineSpeed
from effsearch.latency.timing.interleaved import take_turn
from effsearch.latency.timing.runtime import Model, Runtime
from effsearch.latency.timing.runtimes import find_runtime

_SIDE = 256
_PRODUCTS = 4
_PRODUCT_RUNS = 3
_NETWORK_RUNS = 2


class ReferenceProbe:
    """The references, ready to run; a call runs both, in about 10 ms, and returns the speed.

    Args:
        reference: the reference network.
        threads: of one operator.
        runtime: what runs them; the default one where None.
    """

    def __init__(self, reference: Model, threads: int, runtime: Runtime | None = None) -> None:
        self._network = runner(reference, threads, runtime)
        self._product = runner(product_model(), threads, runtime)
        self()

    def __call__(self) -> MachineSpeed:
        """Return the machine's speed at this moment."""
        product = take_turn(self._product, 0.0, _PRODUCT_RUNS)
        network = take_turn(self._network, 0.0, _NETWORK_RUNS)
        return MachineSpeed(network.median_ms, product.median_ms)


def runner(model: Model, threads: int, runtime: Runtime | None = None) -> Callable[[], object]:
    """Return a run of a model whose threads rest in between.

    Raises:
        UserError: where the runtime does not take the model.
    """
    opened = (runtime or find_runtime()).open(model, threads, rests=True)
    return partial(opened.run, opened.random_inputs())


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
