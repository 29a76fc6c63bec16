"""What weights do to latency: networks as training begins them, against those that are timed.

    python -m results.latency.timing_weights --out results/latency

Each network is opened twice, with fresh weights (`build`) and with those that `measure`, `profile`
and kits use (`as_trained`), and both take turns. Some processors are slow with subnormal numbers,
which fresh weights lead to.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from effsearch.export.as_trained import as_trained
from effsearch.latency.timing.machine import cpu_name
from effsearch.onnx_io.onnx_files import to_onnx
from results.latency.turns import medians_in_turns
from searchspace import build, zoo


def in_turns(network: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Returns the median latencies of a published network with either weights, in ms."""
    architecture = zoo.load(network)
    torch.manual_seed(0)
    weights = {"fresh": build(architecture).eval(), "as_trained": as_trained(architecture)}
    models = {name: to_onnx(built).SerializeToString() for name, built in weights.items()}
    medians = medians_in_turns(models, rounds, seconds)
    found = {f"{name}_ms": float(np.median(values)) for name, values in medians.items()}
    ratios = np.divide(medians["fresh"], medians["as_trained"])
    low, high = np.quantile(ratios, [0.1, 0.9])
    return {
        "network": network,
        **{name: round(value, 3) for name, value in found.items()},
        "ratio": round(float(np.median(ratios)), 3),
        "ratio_of_turns": [round(float(low), 3), round(float(high), 3)],
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m results.latency.timing_weights")
    parser.add_argument("--networks", nargs="+", default=zoo.names())
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a turn")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args(arguments)
    rows = []
    for network in options.networks:
        rows.append(in_turns(network, options.rounds, options.seconds))
        print(json.dumps(rows[-1]))
    found = {"cpu": cpu_name(), "runtime": "ONNX Runtime, 1 thread", "networks": rows}
    (options.out / "timing_weights.json").write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
