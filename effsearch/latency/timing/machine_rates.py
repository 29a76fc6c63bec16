"""What this machine can do at most: arithmetic and bandwidth, measured on a runtime.

They set the floor under every operator's price.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from effsearch.latency.timing.measure import measure_ms
from effsearch.latency.timing.runtime import Runtime

_SIDE = 1024  # a product large enough to be bound by arithmetic
_LONG = 5120  # 105 MB of weights, beyond all caches
_CHAIN = 24
_VALUES = 32 * 1024  # 128 KiB in and out: within a core's cache


@dataclass(frozen=True)
class Peak:
    """Highest rates seen.

    Attributes:
        gmacs_per_ms: 10^9 multiply-accumulates a millisecond.
        mb_per_ms: megabytes read and written a millisecond, inside a core's cache.
        stream_mb_per_ms: megabytes of weights read from main memory a millisecond.
    """

    gmacs_per_ms: float
    mb_per_ms: float
    stream_mb_per_ms: float


def measure_peak(threads: int, seconds: float = 0.5, runtime: Runtime | None = None) -> Peak:
    """Return the rates of a large matrix product and of elementwise work inside the cache.

    Args:
        threads: of one operator.
        seconds: time for each of the three measurements.
        runtime: what runs them; the default one where None.
    """
    lowest = partial(_lowest_ms, threads=threads, seconds=seconds, runtime=runtime)
    product_ms = lowest(_product(_SIDE, _SIDE))
    chain_ms = lowest(_chain()) / _CHAIN
    vector_ms = lowest(_product(1, _LONG))
    return Peak(
        _SIDE**3 / 1e9 / product_ms,
        2 * 4 * _VALUES / 1e6 / chain_ms,
        4 * _LONG**2 / 1e6 / vector_ms,
    )


def _lowest_ms(model: bytes, threads: int, seconds: float, runtime: Runtime | None) -> float:
    return measure_ms(model, threads, seconds=seconds, runtime=runtime).low_ms


def _model(nodes: list[NodeProto], shape: list[int], weights: list[TensorProto]) -> bytes:
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "peak",
        [tensor("x", TensorProto.FLOAT, shape)],
        [tensor("y", TensorProto.FLOAT, shape)],
        weights,
    )
    opset = [helper.make_opsetid("", 20)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())


def _product(rows: int, side: int) -> bytes:
    weight = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    return _model([node], [rows, side], [numpy_helper.from_array(weight, "w")])


def _chain() -> bytes:
    # Neg is never folded away when another node reads in between.
    names = ["x", *(f"v{i}" for i in range(_CHAIN - 1)), "y"]
    nodes = [
        helper.make_node("Relu" if i % 2 else "Neg", [names[i]], [names[i + 1]])
        for i in range(_CHAIN)
    ]
    return _model(nodes, [1, _VALUES], [])
