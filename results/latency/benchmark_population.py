"""Benchmark: how many encoded architectures `DeviceTable.predict_many` prices a second.

python -m results.latency.benchmark_population --device iphone12 --out results/latency
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from effsearch.latency import DeviceTable
from searchspace import SearchSpace


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, compare with `predict`, and write the result."""
    parser = argparse.ArgumentParser(prog="python -m results.latency.benchmark_population")
    parser.add_argument("--device", default="iphone12")
    parser.add_argument("--space", default="mobile")
    parser.add_argument("-n", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    space, table = SearchSpace.load(options.space), DeviceTable.load(options.device)
    rng = np.random.default_rng(options.seed)
    codes = space.encode([space.sample(rng) for _ in range(options.n)])
    start = time.process_time()
    mean, std = table.predict_many(space, codes)
    first_s = time.process_time() - start
    again = []
    for _ in range(7):
        start = time.process_time()
        table.predict_many(space, codes)
        again.append(time.process_time() - start)
    fresh = space.encode([space.sample(rng) for _ in range(options.n)])
    start = time.process_time()
    table.predict_many(space, fresh)
    fresh_s = time.process_time() - start
    sample = range(0, options.n, max(1, options.n // 500))
    error = 0.0
    for row in sample:
        one = table.predict(space.decode(codes[row]))
        error = max(error, abs(mean[row] / one.mean_ms - 1), abs(std[row] / one.std_ms - 1))
    body = {
        "command": "python -m results.latency.benchmark_population "
        f"--device {options.device} --space {options.space} -n {options.n} --seed {options.seed}",
        "device": options.device,
        "space": options.space,
        "architectures": options.n,
        "per_second_one_core": {
            "first population (every part new)": options.n / first_s,
            "another population of the space": options.n / fresh_s,
            "the same population, median of 7": options.n / statistics.median(again),
        },
        "greatest_relative_difference_from_predict": error,
        "compared": len(sample),
    }
    text = json.dumps(body, indent=2)
    print(text)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "predict_many.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
