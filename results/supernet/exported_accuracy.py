"""Whether exported networks classify as their checkpoints do: ONNX Runtime on real images.

    python -m results.supernet.exported_accuracy --networks results/supernet/mobile/networks \
        --data TREE --out results/supernet/mobile/onnx.json

Each checkpoint is exported at the side that it was evaluated at, and every validation image is
classified by ONNX Runtime on the CPU and by PyTorch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
import yaml

from effsearch.onnx_io.onnx_files import to_onnx
from effsearch.training import checkpoint
from effsearch.training.data import pixels
from effsearch.training.data.augment import prepare
from effsearch.training.data.readers import create_reader
from searchspace import Architecture, build
from searchspace.errors import UserError

BATCH = 50


def check(path: Path, data: Path, side: int | None, limit: int | None) -> dict[str, Any]:
    """Return the accuracies of one checkpoint, in ONNX Runtime and in PyTorch.

    Args:
        path: what `effsearch train` or the supernet's evidence wrote.
        data: ImageFolder tree, or a zip archive of one.
        side: input side in px; that of the checkpoint's recipe by default.
        limit: validation images, evenly spread; None for all.

    Raises:
        UserError: where checkpoint or data cannot be used, or do not belong together.
    """
    held = checkpoint.load(path)
    own = Architecture.from_dict(yaml.safe_load(held.architecture))
    architecture = replace(own, resolution=side or held.recipe.image_side)
    network = build(architecture, len(held.classes)).eval()
    held.load_into(network, held.digest)
    reader = create_reader(data, "val")
    if reader.classes != held.classes:
        raise UserError(f"{data} has other classes than {path}")
    split = pixels.load(reader, held.recipe.source_side)
    count = min(limit or len(split), len(split)) // BATCH * BATCH
    if not count:
        raise UserError(f"{data}: {len(split)} validation images are less than a batch of {BATCH}")
    rows = torch.arange(count) * len(split) // count
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    model = to_onnx(network, BATCH)
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    right = {"onnx": 0, "torch": 0}
    agree, largest = 0, 0.0
    for at in torch.split(rows, BATCH):
        x = prepare(split.images[at], architecture.resolution)
        labels = split.labels[at].numpy()
        found = np.asarray(session.run(["logits"], {"input": x.numpy()})[0])
        with torch.no_grad():
            expected = network(x).numpy()
        right["onnx"] += int((found.argmax(1) == labels).sum())
        right["torch"] += int((expected.argmax(1) == labels).sum())
        agree += int((found.argmax(1) == expected.argmax(1)).sum())
        largest = max(largest, float(np.abs(found - expected).max() / expected.std()))
    return {
        "network": path.stem,
        "digest": held.digest,
        "stated_top1": round(held.top1, 3),
        "onnx_top1": round(100 * right["onnx"] / count, 3),
        "torch_top1": round(100 * right["torch"] / count, 3),
        "same_class": round(100 * agree / count, 3),
        "largest_difference": float(f"{largest:.2e}"),
        "images": count,
        "side_px": architecture.resolution,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m results.supernet.exported_accuracy")
    add = parser.add_argument
    add("--networks", type=Path, required=True, help="folder of checkpoints, or one")
    add("--data", type=Path, required=True)
    add("--images", type=int)
    add("--side", type=int)
    add("--out", type=Path)
    options = parser.parse_args(arguments)
    folder = options.networks
    paths = sorted(folder.glob("*.pt")) if folder.is_dir() else [folder]
    try:
        if not paths:
            raise UserError(f"{folder} holds no checkpoints (NAME.pt)")
        rows = [check(path, options.data, options.side, options.images) for path in paths]
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    words = sys.argv[1:] if arguments is None else arguments
    body = {
        "command": "python -m results.supernet.exported_accuracy " + " ".join(words),
        "note": "stated_top1 was measured where the network was trained, maybe in bfloat16",
        "networks": rows,
    }
    text = json.dumps(body, indent=1)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
