"""Calibration held against real measurements: `python -m results.latency.benchmark_calibration`.

This machine is treated as a foreign device, of which only a kit's total latencies are known, in two
ways of running: two threads, and one thread with graph optimisation off. Other random members of
the space are then predicted and compared with their measured latencies. Raw measurements are kept;
without `--measure`, those in the folder are fitted again.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from effsearch.files import atomic_write
from effsearch.latency.calibrate.kit import choose
from effsearch.latency.calibrate.rows import Row
from effsearch.latency.catalogue import table_paths
from effsearch.latency.timing.machine import host
from effsearch.latency.timing.measure import NOISE_LIMIT, drift, time_runs
from effsearch.latency.timing.onnx_runtime import PROVIDER, random_feeds
from results.latency.calibration_report import evaluate, page
from searchspace import Architecture, SearchSpace, UserError, build, operators

RAW, NETWORKS = "calibration_measurements.csv", "calibration_networks.json"
RESULT, PAGE = "calibration.json", "calibration.md"
COLUMNS = ("mode", "role", "index", "digest", "sweep", "median_ms", "low_ms", "high_ms", "runs",
           "spread")  # fmt: skip
TEST_SEED = 20261120
TESTS = 50
SWEEPS = 3
_SECONDS, _MIN_RUNS, _MAX_RUNS, _WARM_UP, _ATTEMPTS = 0.4, 10, 200, 2, 3


@dataclass(frozen=True)
class Mode:
    """A way of running networks."""

    name: str
    threads: int
    optimised: bool


MODES = (Mode("two_threads", 2, True), Mode("unoptimised", 1, False))


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for measurements, results")
    parser.add_argument("--measure", action="store_true", help="measure, even where that was done")
    parser.add_argument("--models", type=Path, help="folder for ONNX files, kept for next time")
    parser.add_argument("--base", help="a table of this CPU, for a line of its own")
    options = parser.parse_args(arguments)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        if options.measure or not (options.out / RAW).exists():
            with tempfile.TemporaryDirectory() as temporary:
                measure(options.out, options.models or Path(temporary))
        run(options.out, options.base)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def measure(out: Path, models: Path) -> None:
    """Measure the kit and the test networks in every mode; write what was seen."""
    networks = prepare(models)
    _say("all networks written; measuring")
    began = time.perf_counter()
    architectures = {a.digest(): a.to_dict() for _, _, a, _ in networks}
    body = {"host": host() | {"date": datetime.now(UTC).date().isoformat()}}
    (out / NETWORKS).write_text(
        _dump_networks(body | {"architectures": architectures}), encoding="utf-8"
    )
    with (out / RAW).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for sweep in range(SWEEPS):
            for role, index, architecture, path in networks:
                for mode in MODES:
                    found = measure_model(path, mode)
                    writer.writerow([mode.name, role, index, architecture.digest(), sweep, *found])
            file.flush()
            _say(f"sweep {sweep + 1} of {SWEEPS}: {time.perf_counter() - began:.0f} s")


def prepare(models: Path) -> list[tuple[str, int, Architecture, Path]]:
    """Write the networks' ONNX files; return role, index, architecture and file of each."""
    models.mkdir(parents=True, exist_ok=True)
    space = SearchSpace.load("mobile")
    kit = choose(space, report=_say)
    named = [("kit", i, a) for i, a in enumerate(kit)]
    named += [("test", i, a) for i, a in enumerate(test_networks(space, kit))]
    networks = []
    for role, index, architecture in named:
        path = models / f"{architecture.digest()}.onnx"
        if not path.exists():
            write_model(architecture, path)
        networks.append((role, index, architecture, path))
    return networks


def test_networks(space: SearchSpace, kit: Sequence[Architecture]) -> list[Architecture]:
    """Return random members of a space that are not in a kit."""
    rng = np.random.default_rng(TEST_SEED)
    known = {a.digest() for a in kit}
    found: list[Architecture] = []
    while len(found) < TESTS:
        architecture = space.sample(rng)
        if architecture.digest() not in known:
            known.add(architecture.digest())
            found.append(architecture)
    return found


def write_model(architecture: Architecture, path: Path) -> None:
    """Write a network's deployed form."""
    from effsearch.onnx_io.onnx_files import to_onnx

    with atomic_write(path, "wb") as file:
        file.write(to_onnx(build(architecture).eval()).SerializeToString())


def measure_model(path: Path, mode: Mode) -> list[float]:
    """Return median, 10th and 90th percentile in ms, runs and drift; the calmest attempt's."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = mode.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if not mode.optimised:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    opened = ort.InferenceSession(path.read_bytes(), options, providers=[PROVIDER])
    feeds = random_feeds(opened)
    first = [opened.get_outputs()[0].name]
    best: list[float] = []
    for _ in range(_ATTEMPTS):
        times = time_runs(
            lambda: opened.run(first, feeds), _SECONDS, _MIN_RUNS, _MAX_RUNS, _WARM_UP
        )
        if not best or drift(times) < drift(best):
            best = times
        if drift(best) <= NOISE_LIMIT:
            break
    low, median, high = np.quantile(best, [0.1, 0.5, 0.9])
    return [float(f"{v:.5g}") for v in (median, low, high, len(best), drift(best))]


def run(out: Path, base: str | None) -> None:
    """Fit and evaluate from the raw measurements; write results."""
    body = json.loads((out / NETWORKS).read_text("utf-8"))
    known = {d: Architecture.from_dict(a) for d, a in body["architectures"].items()}
    lowest = read_latencies(out / RAW)
    if base is not None and base not in table_paths():
        raise UserError(f"--base: {base} is no table; `effsearch devices` lists them")
    results: dict[str, Any] = {
        "command": "python -m results.latency.benchmark_calibration --out results/latency"
        + (f" --base {base}" if base else ""),
        "host": body["host"],
        "modes": {},
    }
    for mode in MODES:
        rows = {
            role: _rows(known, {k: v for k, v in lowest.items() if k[:2] == (mode.name, role)})
            for role in ("kit", "test")
        }
        results["modes"][mode.name] = evaluate(rows["kit"], rows["test"], base) | {
            "repeatability_percent": repeatability(out / RAW, mode.name)
        }
    (out / RESULT).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    (out / PAGE).write_text(page(results), encoding="utf-8")
    print(page(results))


def read_latencies(path: Path) -> dict[tuple[str, str, int, str], float]:
    """Return ms by (mode, role, index, digest): the lowest of the sweeps' medians.

    Interruptions only ever add time.
    """
    lowest: dict[tuple[str, str, int, str], float] = {}
    for row in _read(path):
        key = (row["mode"], row["role"], int(row["index"]), row["digest"])
        lowest[key] = min(lowest.get(key, float("inf")), float(row["median_ms"]))
    return lowest


def repeatability(path: Path, mode: str) -> float:
    """Return by how much a network's two lowest sweeps differ, in percent; median over networks."""
    medians: dict[str, list[float]] = {}
    for row in _read(path):
        if row["mode"] == mode:
            medians.setdefault(row["digest"], []).append(float(row["median_ms"]))
    lowest = [sorted(m)[:2] for m in medians.values() if len(m) > 1]
    spreads = [100 * (second / first - 1) for first, second in lowest]
    return round(float(np.median(spreads)), 2) if spreads else float("nan")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _rows(
    known: dict[str, Architecture], latencies: dict[tuple[str, str, int, str], float]
) -> list[tuple[Architecture, Row]]:
    """Return a role's networks in the order of the kit."""
    found = []
    for (_, _, index, digest), ms in sorted(latencies.items(), key=lambda item: item[0][2]):
        architecture = known[digest]
        parts = operators(architecture, "deploy")
        found.append((architecture, Row(index + 1, digest, digest, parts, ms)))
    return found


def _dump_networks(body: dict[str, Any]) -> str:
    lines = ",\n  ".join(
        f"{json.dumps(d)}: {json.dumps(a)}" for d, a in body["architectures"].items()
    )
    return f'{{\n "host": {json.dumps(body["host"])},\n "architectures": {{\n  {lines}\n }}\n}}\n'


if __name__ == "__main__":
    sys.exit(main())
