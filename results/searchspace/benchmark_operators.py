"""How fast `operators` lists architectures, beside building each and counting with fvcore.

    python -m results.searchspace.benchmark_operators --space mobile -n 10000 \
        --out results/searchspace

prints one JSON object, and writes it and a readable page where `--out` is given.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fvcore.nn import FlopCountAnalysis

from searchspace.architecture import Architecture
from searchspace.errors import UserError
from searchspace.network import build
from searchspace.operators import clear_caches, operators, traced_operators
from searchspace.resolution import height_width
from searchspace.space import SearchSpace
from searchspace.units import units


def benchmark(space: SearchSpace, count: int, seed: int, form: str, peers: int) -> dict[str, Any]:
    """Return the rates, in architectures per CPU second of one thread, and where they were taken.

    Args:
        space: where architectures are sampled from.
        count: how many are listed, first cold (nothing traced yet), then warm.
        seed: seed of the samples.
        form: operators' form.
        peers: how many are built and counted with fvcore for comparison.
    """
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    architectures = [space.sample(rng) for _ in range(count)]
    operators(architectures[0], form)  # imports, and torch's own first call
    clear_caches()
    cold_s = _seconds(lambda: [operators(a, form) for a in architectures])
    traced = traced_operators.cache_info().misses
    warm_s = _seconds(lambda: [operators(a, form) for a in architectures])
    placed = sum(len(units(a)) for a in architectures)
    logging.getLogger("fvcore").setLevel(logging.ERROR)
    peer_s = _seconds(lambda: [_count_with_fvcore(a) for a in architectures[:peers]])
    rates = {"cold": count / cold_s, "warm": count / warm_s, "fvcore": peers / peer_s}
    return {
        "space": space.name,
        "form": form,
        "architectures": count,
        "seed": seed,
        "units": placed,
        "units_traced": traced,
        "cold_s": round(cold_s, 3),
        "warm_s": round(warm_s, 3),
        "ms_per_traced_unit": round(1e3 * (cold_s - warm_s) / traced, 3),
        "per_second": {name: round(rate, 1) for name, rate in rates.items()},
        "times_fvcore": {
            name: round(rates[name] / rates["fvcore"], 1) for name in ("cold", "warm")
        },
        "fvcore_architectures": peers,
        "threads": 1,
        "cpu": _cpu_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def page(result: dict[str, Any], command: str) -> str:
    """Return the result as Markdown."""
    rate, times = result["per_second"], result["times_fvcore"]
    return f"""# How fast operators are listed

    {command}

{result["architectures"]} architectures of `{result["space"]}`, form `{result["form"]}`, one thread
of {result["cpu"]}, torch {result["torch"]}.

| | architectures per CPU second | times fvcore |
|---|---|---|
| `operators`, cold: {result["units_traced"]} units traced on the way | {rate["cold"]} | {times["cold"]} |
| `operators`, warm | {rate["warm"]} | {times["warm"]} |
| build the network, count with fvcore ({result["fvcore_architectures"]} architectures) | {rate["fvcore"]} | 1 |

A unit takes {result["ms_per_traced_unit"]} ms to trace, once.
"""  # noqa: E501


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()  # of one thread; other programs on the machine do not count
    work()
    return time.process_time() - start


def _count_with_fvcore(architecture: Architecture) -> int:
    analysis = FlopCountAnalysis(
        build(architecture).eval(), torch.zeros(1, 3, *height_width(architecture.resolution))
    )
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    return int(analysis.total())


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(prog="python -m results.searchspace.benchmark_operators")
    parser.add_argument("--space", default="mobile", help="a shipped space or a YAML file")
    parser.add_argument("-n", type=int, default=10_000, help="architectures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--form", choices=("train", "deploy"), default="deploy")
    parser.add_argument("--peers", type=int, default=10, help="architectures for fvcore")
    parser.add_argument("--out", type=Path, help="folder for operators.json and operators.md")
    given = parser.parse_args(arguments)
    if given.n < 1 or given.peers < 1:
        parser.error("-n and --peers: give 1 or more")
    try:
        space = SearchSpace.load(given.space)
    except UserError as error:
        parser.error(str(error))
    result = benchmark(space, given.n, given.seed, given.form, min(given.peers, given.n))
    text = json.dumps(result, indent=2)
    print(text)
    if given.out is not None:
        words = sys.argv[1:] if arguments is None else arguments
        command = " ".join(["python -m results.searchspace.benchmark_operators", *words])
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "operators.json").write_text(text + "\n", encoding="utf-8")
        (given.out / "operators.md").write_text(page(result, command), encoding="utf-8")


if __name__ == "__main__":
    main()
