"""Peak activation memory by liveness, beside what ONNX Runtime sets aside for activations.

    python -m results.searchspace.memory --out results/searchspace

ONNX Runtime plans one block for all activations of a run from the second run on (memory patterns).
Its arena is emptied after the first run, so that it has to ask for that block, whose size its log
gives. Weights are kept out of the arena, and the image is the caller's, so it is left out of the
liveness too. As a control every GELU is replaced by a ReLU: ONNX Runtime's GELU needs room of its
own, which no deployed graph shows.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from scipy.stats import kendalltau

from effsearch.onnx_io.onnx_files import to_onnx
from searchspace import Architecture, build, zoo
from searchspace.graph import Graph
from searchspace.operators import live_bytes, operators, peak_bytes
from searchspace.resolution import Resolution, height_width
from searchspace.unit_modules import unit_graph
from searchspace.units import units

NETWORKS = (
    "shvit_s1", "shvit_s2", "shvit_s4", "efficientvit_b0", "efficientvit_b1", "efficientvit_b3",
    "swiftformer_xs", "swiftformer_l1", "efficientmod_xxs", "efficientmod_s",
)  # fmt: skip
_ASKED = re.compile(r"Extending BFCArena.*num_bytes: (\d+)")
_SHRINK = "memory.enable_memory_arena_shrinkage"


def benchmark(names: Sequence[str]) -> dict[str, Any]:
    """Return both peaks of some published networks, in MB, and how they agree."""
    rows: list[dict[str, Any]] = []
    for name in names:
        architecture = zoo.load(name)
        model = to_onnx(build(architecture).eval())
        rows.append(
            {
                "network": name,
                "with_image_mb": peak_bytes(operators(architecture, "deploy")) / 1e6,
                "liveness_mb": without_image(architecture) / 1e6,
                "runtime_mb": planned_bytes(model, architecture.resolution) / 1e6,
                "runtime_relu_mb": planned_bytes(relu(model), architecture.resolution) / 1e6,
            }
        )
    own = [row["liveness_mb"] for row in rows]
    return {
        "networks": rows,
        "onnxruntime": ort.__version__,
        **{
            key: _agreement(own, [row[f"{key}_mb"] for row in rows])
            for key in ("runtime", "runtime_relu")
        },
    }


def _agreement(own: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    ratios = [b / a for a, b in zip(own, theirs, strict=True)]
    return {
        "median_ratio": statistics.median(ratios),
        "least_ratio": min(ratios),
        "greatest_ratio": max(ratios),
        "kendall_tau": float(kendalltau(own, theirs).statistic),
    }


def without_image(architecture: Architecture) -> int:
    """Return the peak in bytes without the image that the network reads."""
    stem, *others = (unit_graph(placed.unit, "deploy") for placed in units(architecture))
    inner = [count for graph in others for count in live_bytes(graph)]
    return max([*_without_input(stem), *inner])


def _without_input(graph: Graph) -> list[int]:
    image = graph.inputs[0]
    last = max(i for i, node in enumerate(graph.nodes) if image in node.inputs)
    size = 4 * int(np.prod(graph.shapes[image]))
    return [n - size * (i <= last) for i, n in enumerate(live_bytes(graph))]


def relu(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a model with a ReLU for every GELU."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    for node in changed.graph.node:
        if node.op_type == "Gelu":
            node.op_type = "Relu"
            del node.attribute[:]
    return changed


def planned_bytes(model: onnx.ModelProto, resolution: Resolution) -> int:
    """Return the size of the block that ONNX Runtime sets aside for a run's activations."""
    ort.set_default_logger_severity(1)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    image = {"input": np.zeros((1, 3, *height_width(resolution)), np.float32)}
    run = ort.RunOptions()
    run.add_run_config_entry(_SHRINK, "cpu:0")
    session.run(None, image, run)
    with _standard_error() as text:
        session.run(None, image, run)
    (asked,) = _ASKED.findall("".join(text))
    return int(asked)


@contextmanager
def _standard_error() -> Iterator[list[str]]:
    """Give what the process, its libraries included, writes to stderr."""
    text: list[str] = []
    with tempfile.TemporaryFile() as file:
        before = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            yield text
        finally:
            os.dup2(before, 2)
            os.close(before)
        file.seek(0)
        text.append(file.read().decode())


def page(result: dict[str, Any], command: str) -> str:
    """Return the result as Markdown."""
    lines = [
        f"| {r['network']} | {r['with_image_mb']:.2f} | {r['liveness_mb']:.2f} "
        f"| {r['runtime_mb']:.2f} ({r['runtime_mb'] / r['liveness_mb']:.2f}) "
        f"| {r['runtime_relu_mb']:.2f} ({r['runtime_relu_mb'] / r['liveness_mb']:.2f}) |"
        for r in result["networks"]
    ]
    words = [
        f"{text}: {found['median_ratio']:.2f} times (median; {found['least_ratio']:.2f} to "
        f"{found['greatest_ratio']:.2f}), Kendall's tau {found['kendall_tau']:.2f}."
        for text, found in (
            ("As they are", result["runtime"]),
            ("With ReLU for GELU", result["runtime_relu"]),
        )
    ]
    return "\n".join(
        [
            "# Peak activation memory, beside ONNX Runtime's own",
            "",
            f"    {command}",
            "",
            "In MB (a million bytes), batch 1, float32. The first number is what `--max-memory` "
            "limits. ONNX Runtime",
            f"{result['onnxruntime']} by its default optimisation: the block that it plans for "
            "the activations of a run,",
            "without weights and without the image (and its ratio to the liveness without it).",
            "",
            "| network | liveness | without the image | ONNX Runtime | the same, ReLU for GELU |",
            "|---|---|---|---|---|",
            *lines,
            "",
            *words,
            "",
            "SHViT and EfficientViT need what liveness says, up to a seventh more for layouts. "
            "ONNX Runtime needs",
            "more for SwiftFormer and EfficientMod: a part is its GELU, which is not fused and "
            "writes elsewhere (the",
            "control); the rest, by the operators that it runs, are copies between layouts around "
            "channels-last parts",
            "(not measured apart). A limit for ONNX Runtime is set with that in mind.",
            "",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m results.searchspace.memory")
    parser.add_argument("--networks", nargs="+", choices=zoo.names(), default=NETWORKS)
    parser.add_argument("--out", type=Path, help="folder for memory.json and memory.md")
    given = parser.parse_args(arguments)
    result = benchmark(given.networks)
    text = json.dumps(result, indent=2)
    print(text)
    if given.out is not None:
        words = sys.argv[1:] if arguments is None else arguments
        command = " ".join(["python -m results.searchspace.memory", *words])
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "memory.json").write_text(text + "\n", encoding="utf-8")
        (given.out / "memory.md").write_text(page(result, command), encoding="utf-8")


if __name__ == "__main__":
    main()
