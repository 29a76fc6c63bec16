"""How many images an exported model classifies right, on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import onnx
import onnxruntime as ort
from torch import Tensor


def correct(model: onnx.ModelProto, batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[int, int]:
    """Classify images with a model as it is deployed; returns how many are right, and of how many.

    Args:
        model: with input `input`, (B, 3, R, R) for a fixed B, and output `logits`.
        batches: float32 images (N, 3, R, R), prepared as the network wants them, and labels (N,);
            any N, images beyond a multiple of B are repeated to fill up.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1  # small images: more threads cost more than they save
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    size = session.get_inputs()[0].shape[0]
    right = count = 0
    for images, labels in batches:
        x, wanted = images.cpu().numpy(), labels.cpu().numpy()
        found = []
        for at in range(0, len(x), size):
            part = x[at : at + size]
            full = part if len(part) == size else np.resize(part, (size, *part.shape[1:]))
            logits = np.asarray(session.run(["logits"], {"input": full})[0])
            found.append(logits[: len(part)].argmax(1))
        right += int((np.concatenate(found) == wanted).sum())
        count += len(wanted)
    return right, count
