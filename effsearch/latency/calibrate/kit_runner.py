"""Fill in a kit's measurements.csv on any machine with Python, numpy and onnxruntime.

Copied into every kit as measure.py; imports nothing of the project. Rows already filled in are left
alone, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import sys
import time
from pathlib import Path

_MIN_RUNS = 15
_WARM_UP = 5


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--csv", type=Path, default=Path(__file__).with_name("measurements.csv"))
    parser.add_argument("--threads", type=int, default=1, help="0: as ONNX Runtime chooses")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each network")
    parser.add_argument("--provider", default="CPUExecutionProvider")
    parser.add_argument("--first", type=int, default=0, help="only so many rows; 0: all")
    options = parser.parse_args(arguments)
    lines = options.csv.read_text("utf-8").splitlines()
    head = [line for line in lines if line.startswith("#")]
    rows = list(csv.DictReader(lines[len(head) :]))
    for number, row in enumerate(rows):
        if row["latency_ms"] or (options.first and number >= options.first):
            continue
        times = run(
            options.csv.parent / row["file"], options.threads, options.seconds, options.provider
        )
        row["latency_ms"] = f"{statistics.median(times):.4f}"
        row["runs"] = str(len(times))
        print(f"{row['file']}: {row['latency_ms']} ms", file=sys.stderr)
        _write(options.csv, head, rows)
    return 0


def run(path: Path, threads: int, seconds: float, provider: str) -> list[float]:
    """Return the duration of each run in ms, warm-up left out."""
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=[provider])
    entry = session.get_inputs()[0]
    image = np.random.default_rng(0).standard_normal(entry.shape).astype(np.float32)
    times: list[float] = []
    end = float("inf")
    while len(times) < _WARM_UP + _MIN_RUNS or time.perf_counter() < end:
        start = time.perf_counter()
        session.run(None, {entry.name: image})
        times.append((time.perf_counter() - start) * 1e3)
        if len(times) == _WARM_UP:
            end = time.perf_counter() + seconds
    return times[_WARM_UP:]


def _write(path: Path, head: list[str], rows: list[dict[str, str]]) -> None:
    temporary = path.with_suffix(".csv.part")
    with temporary.open("w", newline="", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in head)
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


if __name__ == "__main__":
    sys.exit(main())
