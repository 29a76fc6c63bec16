"""A network as the bytes that a runtime opens, and seeded inputs for it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from effsearch.latency.timing.runtime import Inputs, Model
from effsearch.onnx_io.limits import unreadable
from effsearch.onnx_io.reading import inferred
from effsearch.precisions import FLOAT32, INT8
from searchspace import Architecture, UserError
from searchspace.errors import first_line

_INTEGERS = ("int64", "int32", "uint8", "int8")


def serialised(model: Model, precision: str = FLOAT32) -> bytes | Path:
    """Return a network as ONNX: bytes, or the file that it is.

    Args:
        model: the network.
        precision: `int8` quantises what is not quantised yet, by the ranges that noise makes: the
            integers differ from those of a network made for use, but not how long they take.

    Raises:
        UserError: where a file is not ONNX, beyond the bounds on its size, or in int8 where another
            precision is asked for.
    """
    if isinstance(model, Architecture):
        found: bytes | Path = _exported(model)
    else:
        found = model if isinstance(model, bytes) else with_weights(model)
    if precision != INT8:
        if isinstance(model, Path) and _is_quantised(model):
            raise UserError(f"{model}: computes in {INT8}, not {precision}; add --precision {INT8}")
        return found
    if isinstance(found, Path):
        found = bytes(onnx.load(str(found)).SerializeToString())
    return _quantised(found)


def _is_quantised(path: Path) -> bool:
    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return any(node.op_type == "QuantizeLinear" for node in nodes)


@lru_cache(maxsize=2)  # the reference network is opened again with each network beside it
def _quantised(data: bytes) -> bytes:
    from effsearch.export.int8 import quantised_by_noise

    try:
        found = quantised_by_noise(onnx.load_from_string(data))
    except Exception as error:  # the quantiser and its runtime raise many types
        reason = first_line(error, "unknown")[:160]
        raise UserError(f"--precision int8: this model cannot be quantised: {reason}") from None
    return bytes(found.SerializeToString())


@lru_cache(maxsize=2)
def _exported(architecture: Architecture) -> bytes:
    # torch is slow to import, and files can be measured without it.
    from effsearch.export.as_trained import as_trained
    from effsearch.onnx_io.onnx_files import to_onnx

    return bytes(to_onnx(as_trained(architecture)).SerializeToString())


def with_weights(path: Path, seed: int = 0) -> bytes | Path:
    """Return an ONNX file with graph inputs after the first turned into random weights.

    Runtimes fold and repack weights, but not inputs: left as inputs they would cost time that the
    network does not take. A file without such inputs is returned as it is.

    Raises:
        UserError: where the file is not ONNX, or beyond the bounds on its size.
    """
    inferred(path)  # refuses what is no model, or too large to be run
    try:
        model = onnx.load(str(path))
    except Exception as error:  # onnx and protobuf raise many types
        raise unreadable(path, error) from None
    named = {tensor.name for tensor in model.graph.initializer}
    extra = [item for item in model.graph.input if item.name not in named][1:]
    if not extra:
        return path
    rng = np.random.default_rng(seed)
    for item in extra:
        kind = item.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        shape = [d.dim_value or 1 for d in kind.shape.dim]
        # Small and positive: variances of norms must not be negative.
        values = np.abs(0.02 * rng.standard_normal(shape)).astype(dtype)
        model.graph.initializer.append(numpy_helper.from_array(values, item.name))
        model.graph.input.remove(item)
    return bytes(model.SerializeToString())


class InputSlot(NamedTuple):
    """An input as a runtime tells it.

    Attributes:
        name: of the input.
        shape: a number for each axis; anything else where it is open.
        dtype: numpy's name of its values; None where they are none of numpy's.
    """

    name: str
    shape: Sequence[Any]
    dtype: str | None


def random_inputs(slots: Sequence[InputSlot], seed: int = 0, where: str = "") -> Inputs:
    """Return seeded normal values for every input; an open batch becomes 1.

    Args:
        slots: the inputs.
        seed: of the values.
        where: begins messages.

    Raises:
        UserError: where an input is no tensor of numbers, or leaves more than its batch open.
    """
    rng = np.random.default_rng(seed)
    feeds: dict[str, NDArray[Any]] = {}
    for name, given, dtype in slots:
        shape = [d if isinstance(d, int) and d > 0 else 1 for d in given]
        if list(given[1:]) != shape[1:]:
            open_shape = ", ".join(str(d) for d in given)
            raise UserError(
                f"{where}input {name} has the open shape ({open_shape}); export with a "
                "fixed input size, on which the latency depends"
            )
        if dtype in ("float32", "float16"):
            feeds[name] = rng.standard_normal(shape).astype(dtype)
        elif dtype in _INTEGERS:
            feeds[name] = np.zeros(shape, dtype=dtype)
        else:
            raise UserError(f"{where}input {name}: cannot feed {dtype or 'what is no number'}")
    return feeds
