"""Does the cheap training rank networks as a three times longer one does?

    python -m results.accuracy.fidelity --table results/accuracy/evidence.csv \
        --out results/accuracy/fidelity.json

Reads the evidence table and its `-fidelity` companion (`evidence --fidelity N`), compares the
ranks of the networks that are in both, and measures the noise of the seeds, which bounds the tau
that any score can reach.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from results.accuracy.campaign import fidelity_path
from results.accuracy.campaign_table import Row, Table
from results.bootstrap import interval
from searchspace.errors import UserError

_BOOTSTRAPS = 2000


def tau_with_interval(
    a: Sequence[float], b: Sequence[float], seed: int = 0
) -> tuple[float, tuple[float, float]]:
    """Returns Kendall's tau-b and its 95 % bootstrap interval over the pairs of values."""
    first, second = np.asarray(a, float), np.asarray(b, float)
    return _tau(first, second), interval(_tau, first, second, draws=_BOOTSTRAPS, seed=seed)


def _tau(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(kendalltau(a, b).statistic)


def compare(cheap: Sequence[Row], longer: Sequence[Row]) -> dict[str, Any]:
    """Compares the ranking of a table with that of longer trainings of the same networks.

    Args:
        cheap: Rows of the evidence table.
        longer: Rows of the longer trainings.

    Returns:
        Number of networks, epochs of both, tau and its 95 % interval, and the pairs.

    Raises:
        UserError: Fewer than three networks are in both.
    """
    before = {(row.digest, row.seed): row for row in cheap}
    pairs = [
        (before[row.digest, row.seed], row) for row in longer if (row.digest, row.seed) in before
    ]
    if len(pairs) < 3:
        raise UserError(
            f"{len(pairs)} network(s) are in both tables; it takes three or more: "
            "run the evidence command with --fidelity 10"
        )
    tau, interval = tau_with_interval([a.top1 for a, _ in pairs], [b.top1 for _, b in pairs])
    return {
        "networks": len(pairs),
        "epochs": pairs[0][0].epochs,
        "epochs_longer": pairs[0][1].epochs,
        "tau": tau,
        "tau_interval_95": interval,
        "pairs": [
            {"architecture": a.architecture, "top1": a.top1, "top1_longer": b.top1}
            for a, b in pairs
        ],
    }


def seed_noise(rows: Sequence[Row]) -> dict[str, Any]:
    """Measures how much the seed alone moves top-1.

    Returns:
        Networks with two seeds or more, the pooled standard deviation in points, the spread of
        top-1 over all networks, and the mean tau between two seeds' rankings of those networks
        (None where fewer than three networks share two seeds).
    """
    by_digest: dict[str, dict[int, float]] = defaultdict(dict)
    for row in rows:
        by_digest[row.digest][row.seed] = row.top1
    repeated = [list(seeds.values()) for seeds in by_digest.values() if len(seeds) > 1]
    freedom = sum(len(values) - 1 for values in repeated)
    pooled = (
        math.sqrt(sum(statistics.variance(v) * (len(v) - 1) for v in repeated) / freedom)
        if freedom
        else None
    )
    taus = []
    for a, b in itertools.combinations(sorted({row.seed for row in rows}), 2):
        shared = [seeds for seeds in by_digest.values() if a in seeds and b in seeds]
        if len(shared) >= 3:
            taus.append(kendalltau([s[a] for s in shared], [s[b] for s in shared]).statistic)
    firsts = [next(iter(seeds.values())) for seeds in by_digest.values()]
    return {
        "networks": len(repeated),
        "std_points": pooled,
        "spread_points": statistics.pstdev(firsts) if firsts else None,
        "tau_between_seeds": float(np.mean(taus)) if taus else None,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m results.accuracy.fidelity")
    parser.add_argument("--table", type=Path, default=Path("results/accuracy/evidence.csv"))
    parser.add_argument("--longer", type=Path, help="default: the table's -fidelity companion")
    parser.add_argument("--out", type=Path, help="JSON file to write beside printing")
    options = parser.parse_args(arguments)
    try:
        cheap = Table(options.table).rows
        longer = Table(options.longer or fidelity_path(options.table)).rows
        result = {"fidelity": compare(cheap, longer), "seed_noise": seed_noise(cheap)}
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    text = json.dumps(result, indent=1)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
