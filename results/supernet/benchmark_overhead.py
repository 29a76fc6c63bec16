"""Times activated networks against the same networks standing alone.

python -m results.supernet.benchmark_overhead --space supernet --networks 20 --out FILE

Forward and backward in train mode, the two taking turns so that the machine's mood hits both;
choosing the network (`activate`) is part of the supernet's time.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from searchspace.architecture import Architecture
from searchspace.space import SearchSpace
from searchspace.supernet.model import Supernet

TARGET_RATIO = 1.15


def ratio(
    supernet: Supernet,
    architecture: Architecture,
    x: Tensor,
    rounds: int,
    track_statistics: bool = True,
) -> dict[str, float]:
    """Return median seconds of the activated and of the extracted network, and their ratio."""
    supernet.track_statistics = track_statistics
    network = supernet.train().extract(architecture)

    def shared() -> None:
        supernet.activate(architecture)
        _step(supernet, x)

    def alone() -> None:
        _step(network, x)

    for run in (shared, alone):
        run()
    times: dict[str, list[float]] = {"shared": [], "alone": []}
    for number in range(rounds):
        pair: list[tuple[str, Callable[[], None]]] = [("shared", shared), ("alone", alone)]
        for name, run in pair if number % 2 else reversed(pair):
            # Gradients are there already, as between the networks of one training step.
            times[name].append(_timed(run, x.device))
    supernet.zero_grad(set_to_none=True)
    medians = {name: statistics.median(values) for name, values in times.items()}
    return {
        "activated_ms": 1e3 * medians["shared"],
        "alone_ms": 1e3 * medians["alone"],
        "ratio": medians["shared"] / medians["alone"],
    }


def _step(module: nn.Module, x: Tensor) -> None:
    module(x).square().mean().backward()


def _timed(run: Callable[[], None], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; exit status 1 where the median ratio is above 1.15."""
    parser = argparse.ArgumentParser(prog="python -m results.supernet.benchmark_overhead")
    add = parser.add_argument
    add("--space", default="supernet")
    add("--networks", type=int, default=20)
    add("--rounds", type=int, default=5)
    add("--batch-size", type=int, default=8)
    add("--resolution", type=int, default=224)
    add("--seed", type=int, default=0)
    add("--threads", type=int, default=1)
    add("--device", choices=("cpu", "cuda"), default="cpu")
    add("--out", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    space = SearchSpace.load(options.space)
    device = torch.device(options.device)
    supernet = Supernet(space, 100).to(device)
    x = torch.randn(options.batch_size, 3, options.resolution, options.resolution, device=device)
    rng = np.random.default_rng(options.seed)
    rows: list[dict[str, Any]] = []
    for _ in range(options.networks):
        architecture = space.sample(rng)
        row = ratio(supernet, architecture, x, options.rounds)
        rows.append({"digest": architecture.digest(), **{k: round(v, 3) for k, v in row.items()}})
        print(rows[-1], file=sys.stderr, flush=True)
    median = statistics.median(row["ratio"] for row in rows)
    report = {
        "what": "forward and backward, activated in the supernet over standing alone",
        "command": "python -m results.supernet.benchmark_overhead "
        + " ".join(sys.argv[1:] if arguments is None else arguments),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "torch": torch.__version__,
        "median_ratio": round(median, 3),
        "worst_ratio": max(row["ratio"] for row in rows),
        "target": TARGET_RATIO,
        "networks": rows,
    }
    text = json.dumps(report, indent=1)
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")
    print(text)
    return 0 if median <= TARGET_RATIO else 1


if __name__ == "__main__":
    sys.exit(main())
