"""Default runs held against published networks and against these scaled by hand.

    python -m results.search.against_scaled --out results/search

One default run for each of twelve pairs of device and budget; writes against_scaled.{md,json}.
A pair whose winner 1 does not beat both by its own lower bound counts as a loss, and the command
ends with status 1.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

PAIRS = (
    ("iphone12", 1.0), ("iphone12", 2.0), ("iphone12", 4.0),
    ("iphone13", 1.0), ("iphone13", 2.0), ("iphone13", 4.0),
    ("epyc-zen5-1t", 3.25), ("epyc-zen5-1t", 8.0), ("epyc-zen5-1t", 16.0),
    ("pixel6cpu", 15.0), ("pixel6cpu", 30.0), ("pixel6cpu", 60.0),
)  # fmt: skip
TARGET, MEDIAN_TARGET = 0.5, 1.0  # points over scaled, at each pair and in the median


def measure(device: str, budget_ms: float, seed: int, folder: Path) -> dict[str, Any]:
    """Run one default search and return what it found beside what anyone has."""
    command = [sys.executable, "-m", "effsearch", "run", "--json", "--device", device]
    command += ["--budget-ms", str(budget_ms), "--seed", str(seed), "--out", str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        return {"device": device, "budget_ms": budget_ms, "exit": done.returncode}
    summary = json.loads(done.stdout)
    bounds = {
        name: None if summary[key] is None else summary[key]["lower_bound"]
        for name, key in (("published", "baseline"), ("scaled", "baseline_scaled"))
    }
    winner = summary["winners"][0]
    return {
        "device": device,
        "budget_ms": budget_ms,
        "exit": 0,
        "seconds": summary["seconds"],
        **bounds,
        "winner": winner["lower_bound"],
        "names": {
            key: None if summary[key] is None else summary[key]["name"]
            for key in ("baseline", "baseline_scaled")
        },
        "blocks": winner["blocks"],
        "gain_over_scaled": summary["gain_over_scaled"],
    }


def lead(row: dict[str, Any], over: str) -> float | None:
    """Return by how much winner 1's lower bound exceeds another's; None where there is none."""
    return None if row.get(over) is None else row["winner"] - row[over]


def is_lost(row: dict[str, Any]) -> bool:
    """Return whether winner 1 fails to beat what anyone has without a search."""
    if row["exit"] != 0:
        return True
    leads = [lead(row, over) for over in ("published", "scaled")]
    return any(value is not None and value <= 0 for value in leads)


def markdown(rows: Sequence[dict[str, Any]], command: str) -> str:
    """Return the table as a page."""
    leads = [value for row in rows if (value := lead(row, "scaled")) is not None]
    met = sum(value >= TARGET for value in leads)
    lines = [
        "# Default runs against published networks scaled by hand",
        "",
        f"Made by `{command}`. Lower bounds (80 %) of the default score, in points: of the",
        "best published network within the budget, of the best that scaling one's widths by 0.6 to",
        "1.5 and depths by 0.7 to 1.5 gives, and of winner 1 of a default run. It says how well",
        "the search searches by its own score; what training says is in results/outcome.",
        "",
        "| device, ms | published | scaled | winner 1 | over published | over scaled | winner 1 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        where = f"{row['device']}, {row['budget_ms']:g}"
        if row["exit"] != 0:
            lines.append(f"| {where} | | | exit {row['exit']} | | | |")
            continue
        numbers = [_points(row[key]) for key in ("published", "scaled", "winner")]
        numbers += [_points(lead(row, key), "+") for key in ("published", "scaled")]
        lines.append(f"| {where} | {' | '.join(numbers)} | {row['blocks']} |")
    if leads:
        lines += [
            "",
            f"Over scaled: median {statistics.median(leads):+.2f} (target {MEDIAN_TARGET:+g}), "
            f"least {min(leads):+.2f}; at least {TARGET:+g} in {met} of {len(leads)}.",
        ]
    return "\n".join(lines) + "\n"


def _points(value: float | None, sign: str = "") -> str:
    return "none fits" if value is None else f"{value:{sign}.2f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all pairs, one after the other, and write the table."""
    parser = argparse.ArgumentParser(prog="python -m results.search.against_scaled")
    parser.add_argument("--out", type=Path, default=Path("results/search"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pairs", nargs="*", default=[], help="DEVICE=MS; all twelve without")
    options = parser.parse_args(arguments)
    chosen = [tuple(text.split("=", 1)) for text in options.pairs]
    pairs = [(device, float(ms)) for device, ms in chosen] or list(PAIRS)
    rows = []
    for number, (device, budget_ms) in enumerate(pairs, 1):
        with tempfile.TemporaryDirectory() as folder:
            row = measure(device, budget_ms, options.seed, Path(folder) / "run")
        rows.append(row)
        print(f"{number} of {len(pairs)}: {row}", file=sys.stderr)
    command = "python -m results.search.against_scaled --out results/search"
    options.out.mkdir(parents=True, exist_ok=True)
    body = {"command": command, "seed": options.seed, "rows": rows}
    (options.out / "against_scaled.json").write_text(json.dumps(body, indent=1) + "\n")
    page = markdown(rows, command)
    (options.out / "against_scaled.md").write_text(page)
    print(page)
    return 1 if any(is_lost(row) for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
