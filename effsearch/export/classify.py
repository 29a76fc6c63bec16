"""What an exported model answers for images, on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from torch import Tensor


def correct(model: onnx.ModelProto, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[int, int]:
    """Classify images with a model as it is deployed; returns how many are right, and of how many.

    Args:
        model: with input `input`, (B, 3, R, R) for a fixed B, and output `logits`.
        batches: float32 images (N, 3, R, R), prepared as the network wants them, and labels (N,);
            any N, images beyond a multiple of B are repeated to fill up.
    """
    found, wanted = answers(model, batches)
    return int((found == wanted).sum()), len(wanted)


def answers(
    model: onnx.ModelProto, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the classes that a model finds in images, and their labels, (images,) each.

    Args:
        model: as for `correct`.
        batches: likewise.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # small images: more threads cost more than they save
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    size = session.get_inputs()[0].shape[0]
    found, wanted = [], []
    for images, labels in batches:
        x = images.cpu().numpy()
        for at in range(0, len(x), size):
            part = x[at : at + size]
            full = part if len(part) == size else np.resize(part, (size, *part.shape[1:]))
            logits = np.asarray(session.run(["logits"], {"input": full})[0])
            found.append(logits[: len(part)].argmax(1))
        wanted.append(labels.cpu().numpy())
    return np.concatenate(found), np.concatenate(wanted)
