"""`with_pattern_weights`: models whose weights say nothing, small on disk and as fast to run.

An untrained network's weights are random numbers, which no format compresses. Here all large ones
are cut from one short random tensor by operators on constants, which runtimes compute once, when
they load the model.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_PATTERN, _AXIS = "pattern", "pattern/axis"
LENGTH = 65_521  # a prime, so that no width divides it and rows of weights differ
SMALL = 4_096  # tensors of fewer values stay as they are


def with_pattern_weights(
    model: onnx.ModelProto, seed: int = 0
) -> tuple[onnx.ModelProto, dict[str, np.ndarray[Any, Any]]]:
    """Return a model with random weights of the same spread that takes little room.

    Args:
        model: with its weights as initialisers; left as it is.
        seed: of the random numbers.

    Returns:
        The model, and the weights that it has now by name of the initialiser they stand for.
    """
    pattern = np.random.default_rng(seed).standard_normal(LENGTH).astype(np.float32)
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    kept = [t for t in graph.initializer if not _is_large(t)]
    nodes: list[onnx.NodeProto] = []
    # A matrix of one row, for ONNX's shape inference follows every single value of a vector.
    axis = numpy_helper.from_array(np.array([1], np.int64), _AXIS)
    constants = [numpy_helper.from_array(pattern[None], _PATTERN), axis]
    values: dict[str, np.ndarray[Any, Any]] = {}
    for number, tensor in enumerate(t for t in model.graph.initializer if _is_large(t)):
        name, shape = tensor.name, tuple(tensor.dims)
        size = math.prod(shape)
        begin = number * 7919 % LENGTH
        scale = np.float32(numpy_helper.to_array(tensor).std())
        often = -(-(begin + size) // LENGTH)
        values[name] = (np.tile(pattern, often)[begin : begin + size] * scale).reshape(shape)
        integers = {
            "often": [1, often],
            "begin": [begin],
            "end": [begin + size],
            "shape": list(shape),
        }
        constants += [
            numpy_helper.from_array(np.array(v, np.int64), f"{name}/{k}")
            for k, v in integers.items()
        ]
        constants.append(numpy_helper.from_array(np.asarray(scale), f"{name}/scale"))
        steps = (
            ("Tile", [_PATTERN, f"{name}/often"], f"{name}/tiled"),
            ("Slice", [f"{name}/tiled", f"{name}/begin", f"{name}/end", _AXIS], f"{name}/cut"),
            ("Mul", [f"{name}/cut", f"{name}/scale"], f"{name}/scaled"),
            ("Reshape", [f"{name}/scaled", f"{name}/shape"], name),
        )
        nodes += [helper.make_node(op, ins, [out], name=f"{out}/{op}") for op, ins, out in steps]
    rest = list(graph.node)
    del graph.initializer[:]
    del graph.node[:]
    graph.initializer.extend([*constants, *kept])
    graph.node.extend([*nodes, *rest])
    return made, values


def with_weights(
    model: onnx.ModelProto, values: dict[str, np.ndarray[Any, Any]]
) -> onnx.ModelProto:
    """Return a model with some of its initialisers replaced."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(numpy_helper.from_array(values[tensor.name], tensor.name))
    return made


def _is_large(tensor: TensorProto) -> bool:
    return tensor.data_type == TensorProto.FLOAT and math.prod(tensor.dims) > SMALL
