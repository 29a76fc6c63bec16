"""ONNX models in 8-bit integers: static quantisation by ONNX Runtime, in the QDQ form.

Weights are signed and have a scale for each output channel, activations are unsigned and have one
scale for each tensor, from the least and greatest value that images give it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

Floats = NDArray[np.float32]
# What `quantize_static` asks for, so as not to advise a preparation that our graphs don't need.
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")
QUANTISING = ("QuantizeLinear", "DequantizeLinear")
QUANTISED = ("Conv", "Gemm", "MatMul")


def quantise(
    model: onnx.ModelProto,
    images: Iterable[Floats],
    *,
    ops: Collection[str] = QUANTISED,
    kept: Collection[str] | None = None,
    per_channel: bool = True,
    ranges: Path | None = None,
) -> onnx.ModelProto:
    """Return a float32 model whose operators of some types compute in 8-bit integers.

    Args:
        model: with one input.
        images: what the ranges of activations are taken from; each of the input's shape.
        ops: types of operators to quantise.
        kept: names of nodes that stay in float32; `behind_quotients` where None.
        per_channel: whether each output channel of a weight has a scale of its own.
        ranges: file that keeps the ranges, for another quantisation of the same model; images are
            not looked at where it exists.
    """
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    source = onnx.ModelProto()
    source.CopyFrom(model)
    entry = source.metadata_props.add()
    entry.key, entry.value = _PREPARED
    with tempfile.TemporaryDirectory(prefix="effsearch-int8-") as folder:
        path = Path(folder) / "int8.onnx"
        quantize_static(
            source,
            path,
            _Feeds(model.graph.input[0].name, images),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(ops),
            nodes_to_exclude=list(behind_quotients(model) if kept is None else kept),
            per_channel=per_channel,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibration_cache_path=ranges,
        )
        found = onnx.load(str(path))
    del found.metadata_props[:]
    found.metadata_props.extend(model.metadata_props)
    found.producer_name = model.producer_name
    del found.graph.value_info[:]
    return found


def behind_quotients(model: onnx.ModelProto) -> list[str]:
    """Return the products of two activations that a quotient of activations is computed from.

    Rounding to integers can make a divisor zero, and the quotient is then as large as floats go.
    EfficientViT's LiteMLA divides its attention by the sum of its weights (Cai et al., ICCV 2023,
    equation 2): its products alone in 8 bits cost 7 points (results/quantisation).

    Args:
        model: in float32.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    maker = {name: node for node in model.graph.node for name in node.output}
    waiting = [
        name
        for node in model.graph.node
        if node.op_type == "Div" and node.input[1] not in constants
        for name in node.input
    ]
    found: dict[str, None] = {}
    seen: set[str] = set()
    while waiting:
        name = waiting.pop()
        node = maker.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type in QUANTISED:
            if not constants.isdisjoint(node.input):  # a layer with weights
                continue
            found[node.name] = None
        waiting += node.input
    return list(found)


def quantised_by_noise(model: onnx.ModelProto, seed: int = 0) -> onnx.ModelProto:
    """Return a model with the integer operators of `quantise`, for timing alone.

    Args:
        model: returned as it is where it is quantised already, or has nothing to quantise.
        seed: of the noise.
    """
    types = {node.op_type for node in model.graph.node}
    if not types.isdisjoint(QUANTISING) or types.isdisjoint(QUANTISED):
        return model
    shape = [d.dim_value or 1 for d in model.graph.input[0].type.tensor_type.shape.dim]
    noise = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return quantise(model, [noise])


class _Feeds:
    """Images as `quantize_static` asks for them, one after another."""

    def __init__(self, name: str, images: Iterable[Floats]) -> None:
        self._name, self._images = name, iter(images)

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next image by the input's name; None after the last."""
        image = next(self._images, None)
        return None if image is None else {self._name: image}
