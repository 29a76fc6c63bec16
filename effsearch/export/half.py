"""Exports in half precision: made safe, and checked before they are written."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor
from torch.nn import functional as F

from effsearch.errors import WorkFailedError
from effsearch.export.check import listed, randomise
from effsearch.onnx_io.static import StaticNetwork
from searchspace import Backbone, Network
from searchspace.half_precision import float16, half_ready
from searchspace.resolution import height_width

TOLERANCE = 0.01  # of the standard deviation of the logits


@dataclass(frozen=True)
class Half:
    """A network ready for float16.

    Attributes:
        network: it.
        shown: the same with weights that show mistakes; the same object where it was trained.
        drift: how far float16 moves the outputs of `shown`, over their standard deviation.
    """

    network: Network | Backbone
    shown: Network | Backbone
    drift: float

    @property
    def words(self) -> str:
        """What was found, in words."""
        return f"an emulation of float16 moves outputs by {self.drift:.1e} of their spread"


def for_half(network: Network | Backbone, trained: bool, what: str) -> Half:
    """Return a network ready for float16, checked.

    Outputs are those of an emulation that rounds every weight and every operator's result, and
    takes what float16 holds as subnormal numbers for zero. Fresh weights silence branches and have
    no telling outputs, so random ones stand for them (see `randomise`).

    Args:
        network: left as it is.
        trained: whether its weights were trained.
        what: the file, for the message.

    Raises:
        WorkFailedError: where outputs are no numbers, or move by more than 1 % of their spread.
    """
    images = _images(network)
    ready = half_ready(network, images[:-1])
    meant, shown = network, ready
    if not trained:
        meant = copy.deepcopy(network)
        randomise(meant)
        shown = half_ready(meant, images[:-1])
    error = drift(meant, shown, images)
    if not error <= TOLERANCE:
        found = (
            "makes outputs no numbers"
            if error != error
            else f"moves outputs by {error:.1%} of their spread"
        )
        raise WorkFailedError(
            f"{what}: not written: float16 {found}, by an emulation; "
            f"{TOLERANCE:.0%} is allowed; use --precision float32"
        )
    return Half(ready, shown, error)


def drift(network: Network | Backbone, ready: Network | Backbone, images: Tensor) -> float:
    """Return how far float16 moves outputs, over their standard deviation; NaN if they are none.

    Args:
        network: what is meant, in float32.
        ready: what is rounded.
        images: (N, 3, H, W).
    """
    rounded = StaticNetwork(ready, float16)
    found = []
    with torch.no_grad():
        for image in images[:, None]:
            for one, other in zip(listed(rounded(image)), listed(network(image)), strict=True):
                found.append((one - other).abs().max() / other.std(correction=0))
    return float(torch.stack(found).max())  # NaN wins in torch's maximum


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an ONNX model whose weights and results are float16; input and output stay float32."""
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    for tensor in graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            tensor.CopyFrom(numpy_helper.from_array(values.astype("float16"), tensor.name))
    source, sinks = graph.input[0].name, [output.name for output in graph.output]
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name in (source, *sinks):
                    names[place] = f"{name}:half"
    nodes = [
        helper.make_node("Cast", [source], [f"{source}:half"], to=TensorProto.FLOAT16),
        *graph.node,
        *(helper.make_node("Cast", [f"{s}:half"], [s], to=TensorProto.FLOAT) for s in sinks),
    ]
    del graph.node[:]
    graph.node.extend(nodes)
    return half


def _images(network: Network | Backbone) -> Tensor:
    """Return images to look at: noise, shades as photographs have them, and one of neither."""
    size = height_width(network.architecture.resolution)
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(2, 3, 8, 8, generator=generator)
    shades = F.interpolate(coarse, size, mode="bicubic")
    noise = torch.randn(2, 3, *size, generator=generator)
    return torch.cat([noise[:1], shades, 0.5 * (noise[1:] + shades[:1])])
