"""The table of this project's CPU with two threads, fitted to whole networks measured there.

    python -m effsearch.latency.two_threads --results results/latency

`effsearch profile --threads 2` found the machine's second core too rarely its own to time single
operators. Whole networks were measured in two sessions: the kit's and the test networks of
`calibration_benchmark`, and the published ones by the only batch of that profile that was quiet.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from effsearch.latency.calibrate import calibrate, install
from effsearch.latency.calibration_benchmark import NETWORKS, RAW, read_latencies
from effsearch.latency.calibration_rows import Measurements, Row
from searchspace import Architecture, UserError, operators, zoo

NAME = "epyc-zen5-2t"
MODE = "two_threads"
PUBLISHED = "published-2t.csv"


def read(results: Path) -> Measurements:
    """Return all networks measured with two threads.

    Args:
        results: folder with the measurements.

    Raises:
        UserError: where a file is missing.
    """
    try:
        body = json.loads((results / NETWORKS).read_text("utf-8"))
        lowest = read_latencies(results / RAW)
        with (results / PUBLISHED).open(newline="", encoding="utf-8") as file:
            published = {row["network"]: float(row["median_ms"]) for row in csv.DictReader(file)}
    except OSError as error:
        raise UserError(f"--results: {error.filename}: {error.strerror}") from None
    timed = [
        (digest, Architecture.from_dict(body["architectures"][digest]), ms)
        for (mode, _, _, digest), ms in sorted(lowest.items())
        if mode == MODE
    ]
    timed += [(name, zoo.load(name), ms) for name, ms in published.items()]
    rows = tuple(
        Row(line, target, a.digest(), operators(a, "deploy"), ms)
        for line, (target, a, ms) in enumerate(timed, start=1)
    )
    host = body["host"]
    header = {
        "device": host["cpu"],
        "os": host["os"],
        "runtime": f"{host['runtime']} {host['runtime_version']}",
        "compute_unit": "CPU, 2 threads",
        "precision": host["precision"],
        "date": host["date"],
    }
    return Measurements(rows, header)


def main(arguments: list[str] | None = None) -> int:
    """Fit and write the table; 0 done, 2 the request was wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=Path("results/latency"))
    parser.add_argument("--out", type=Path, default=Path("effsearch/latency/devices"))
    given = parser.parse_args(arguments)
    try:
        card = calibrate(read(given.results), NAME)
        card["note"] = (
            f"{card['note']} Two sessions, in the second of which (the published networks) the "
            "machine was some 10 % slower; latencies of the first are the lowest of several "
            "sweeps. Not covered: float16 and quantised models, batches, other CPUs."
        )
        path = install(card, given.out)
    except UserError as error:
        print(f"two_threads: error: {error}", file=sys.stderr)
        return 2
    found = card["held_out"]["leave_network_out"]
    print(
        f"{path}: {card['reference_count']} networks, each left out: median error "
        f"{found['median_error_percent'][0]} %, rank correlation {found['spearman'][0]}, "
        f"80 % intervals hold {found['coverage_percent'][0]} %"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
