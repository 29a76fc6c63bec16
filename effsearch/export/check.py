"""Whether an exported network computes what the PyTorch one does."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from effsearch.errors import WorkFailedError
from searchspace import Backbone, Network

Floats = NDArray[np.float32]
TOLERANCE = 1e-4  # of the standard deviation of the logits
_FEW, _IMAGES_OF_FEW = 10, 8  # values
# One class has no spread, and the logits of two or three may lie close together by chance. Other
# images don't help: random weights answer all noise nearly alike.
_LEAST = 4


def check_onnx(network: Network | Backbone, model: onnx.ModelProto, seed: int = 0) -> float:
    """Return how far ONNX Runtime's outputs are from PyTorch's for the same random image.

    Few values are compared on several images. Fewer than four have no telling spread; their size
    stands for it.

    Args:
        network: the network that `model` was written from, with the same weights.
        model: with input `input`.
        seed: of the image.

    Returns:
        Greatest absolute difference over the standard deviation of PyTorch's logits; of a backbone
        the greatest of its maps' own. NaN where they are not finite.
    """
    values = [math.prod(_shape(output)) for output in model.graph.output]
    images = _images(model, 1 if min(values) >= _FEW else _IMAGES_OF_FEW, seed)
    found = _outputs(model, images)
    training = network.training
    network.eval()
    with torch.no_grad():
        given = [network(torch.from_numpy(image)) for image in images]
    network.train(training)
    columns = zip(*map(listed, given), strict=True)
    expected = [np.stack([t.numpy() for t in column]) for column in columns]
    errors = [
        np.abs(one - other).max() / (other.std() if count >= _LEAST else _size(other))
        for one, other, count in zip(found, expected, values, strict=True)
    ]
    return float(np.max(errors))


def listed(outputs: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    """Return a network's outputs as a list: of logits, of one."""
    return [outputs] if isinstance(outputs, Tensor) else outputs


def _size(values: Floats) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]


def difference(first: onnx.ModelProto, second: onnx.ModelProto, seed: int = 0) -> float:
    """Return how far two models' logits are apart for the same random image.

    Args:
        first: with input `input` and output `logits`.
        second: likewise.
        seed: of the image.

    Returns:
        Greatest absolute difference over the standard deviation of the first one's logits.
    """
    images = _images(first, 1, seed)
    (one,), (other,) = _outputs(first, images), _outputs(second, images)
    return float(np.abs(one - other).max() / one.std())


def _images(model: onnx.ModelProto, count: int, seed: int) -> list[Floats]:
    """Return random images of the size that a model takes."""
    rng = np.random.default_rng(seed)
    shape = _shape(model.graph.input[0])
    return [rng.standard_normal(shape).astype(np.float32) for _ in range(count)]


def _outputs(model: onnx.ModelProto, images: list[Floats]) -> list[Floats]:
    """Return what ONNX Runtime makes of images: each output, stacked over images."""
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # one image: more threads cost more than they save
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    runs = [session.run(None, {"input": image}) for image in images]
    return [np.stack(column) for column in zip(*runs, strict=True)]


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Give a network random weights with which a wrong export shows.

    A fresh network hides mistakes: norms with zero gain and tiny layer scales silence whole
    branches, and batch norms with fresh statistics do nothing. Here gains and layer scales are
    between 0.5 and 1.5, biases and means are not zero, variances are not one.

    Args:
        network: changed in place.
        seed: of the weights.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(like: Tensor, low: float, high: float) -> Tensor:
        return torch.rand(like.shape, generator=generator) * (high - low) + low

    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.numel() == max(parameter.shape, default=1):
                bounds = (-0.2, 0.2) if name.endswith("bias") else (0.5, 1.5)
                parameter.copy_(uniform(parameter, *bounds))
        for name, buffer in network.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(uniform(buffer, -0.2, 0.2))
            elif name.endswith("running_var"):
                buffer.copy_(uniform(buffer, 0.5, 1.5))


def require_parity(name: str, error: float) -> None:
    """Check a result of `check_onnx`.

    Raises:
        WorkFailedError: where it is above the tolerance.
    """
    if not error <= TOLERANCE:
        raise WorkFailedError(
            f"{name}: ONNX Runtime and PyTorch differ by {error:.1e} of the logits' spread, more "
            f"than {TOLERANCE:.0e}; the file was not kept"
        )
