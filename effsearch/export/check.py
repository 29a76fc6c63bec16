"""Whether an exported network computes what the PyTorch one does."""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
_ANOTHER_BATCH = 3


def check_onnx(network: Network | Backbone, model: onnx.ModelProto, seed: int = 0) -> float:
    """Return how far ONNX Runtime's outputs are from PyTorch's; see `check_outputs`.

    Args:
        network: the network that `model` was written from, with the same weights.
        model: with input `input`; one that takes any batch is run on several.
        seed: of the images.
    """
    value = model.graph.input[0]
    run = _runner(model)

    def torch_run(images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(output) for output in run(images.numpy())]

    return check_outputs(network, torch_run, _shape(value), _is_open(value), seed)


@torch.no_grad()
def check_outputs(
    network: Network | Backbone,
    run: Callable[[Tensor], Tensor | Sequence[Tensor]],
    shape: Sequence[int],
    any_batch: bool = False,
    seed: int = 0,
) -> float:
    """Return how far what was exported is from the network, for the same random image.

    Few values are compared on several images. Fewer than four have no telling spread; their size
    stands for it.

    Args:
        network: what was exported.
        run: runs the export.
        shape: of an input, (N, 3, H, W).
        any_batch: whether it takes other N too; these are tried.
        seed: of the images.

    Returns:
        Greatest absolute difference over the standard deviation of the network's logits; of a
        backbone the greatest of its maps' own. NaN where they are not finite.
    """
    training = network.training
    network.eval()
    rng = np.random.default_rng(seed)
    images = [_image(rng, shape)]
    given = [_flat(network, images[0])]
    values = min(part.size for part in given[0])
    further = [shape] * (_IMAGES_OF_FEW - 1) if values < _FEW else []
    further += [(_ANOTHER_BATCH, *shape[1:])] if any_batch else []
    images += [_image(rng, each) for each in further]
    given += [_flat(network, image) for image in images[1:]]
    network.train(training)
    found = [_flat(run, image) for image in images]
    errors = []
    for parts in zip(zip(*given, strict=True), zip(*found, strict=True), strict=True):
        wanted, one = map(np.concatenate, parts)
        spread = wanted.std() if values >= _LEAST else _size(wanted)
        errors.append(np.abs(one - wanted).max() / spread)
    return float(np.max(errors))


def _flat(run: Callable[[Tensor], Tensor | Sequence[Tensor]], image: Tensor) -> list[Floats]:
    return [output.numpy().ravel() for output in listed(run(image))]


def listed(outputs: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    """Return a network's outputs as a list: of logits, of one."""
    return [outputs] if isinstance(outputs, Tensor) else outputs


def _size(values: Floats) -> float:
    return float(np.sqrt(np.square(values).mean()))


def _shape(value: onnx.ValueInfoProto) -> list[int]:
    return [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]


def _is_open(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.shape.dim[0].dim_param)


def difference(first: onnx.ModelProto, second: onnx.ModelProto, seed: int = 0) -> float:
    """Return how far two models' logits are apart for the same random image.

    Args:
        first: with input `input` and output `logits`.
        second: likewise.
        seed: of the image.

    Returns:
        Greatest absolute difference over the standard deviation of the first one's logits.
    """
    image = _image(np.random.default_rng(seed), _shape(first.graph.input[0]))
    (one,), (other,) = _runner(first)(image.numpy()), _runner(second)(image.numpy())
    return float(np.abs(one - other).max() / one.std())


def _image(rng: np.random.Generator, shape: Sequence[int]) -> Tensor:
    return torch.from_numpy(rng.standard_normal(tuple(shape)).astype(np.float32))


def _runner(model: onnx.ModelProto) -> Callable[[Floats], list[Floats]]:
    """Return what runs a model in ONNX Runtime."""
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # one image: more threads cost more than they save
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda images: session.run(None, {"input": images})


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
