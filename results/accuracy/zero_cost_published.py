"""The scale of the score source `zero-cost`, and how its members rank the published networks.

    python -m results.accuracy.zero_cost_published --data $EFFSEARCH_DATA

Writes the product's `zero_cost.json` and results/accuracy/zero_cost.{md,json}.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.accuracy.zero_cost_source import DATA, MEMBERS, SETTINGS, combine, member_scores
from searchspace import operators, zoo

COMMAND = "python -m results.accuracy.zero_cost_published --data $EFFSEARCH_DATA"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the scale, and the members' agreement with the published top-1."""
    import pandas as pd
    from scipy.stats import kendalltau

    parser = argparse.ArgumentParser(prog="python -m results.accuracy.zero_cost_published")
    parser.add_argument("--data", default=os.environ.get("EFFSEARCH_DATA"), help="shared data")
    parser.add_argument("--results", type=Path, default=Path("results/accuracy"))
    options = parser.parse_args(arguments)
    path = Path(options.data or "") / "published" / "seeds.csv"
    if options.data is None or not path.exists():
        print("--data: give the folder that has published/seeds.csv", file=sys.stderr)
        return 2
    table = pd.read_csv(path)
    rows = [member_scores(zoo.load(name)) for name in table["network"]]
    scale = {}
    for name in MEMBERS:
        values = np.array([row[name] for row in rows])
        scale[name] = [float(np.nanmean(values)), float(np.nanstd(values))]
    card: dict[str, Any] = {
        "command": COMMAND,
        "about": "mean and standard deviation of each score over the 16 published networks",
        "images": {", ".join(k): {"side": v[0], "count": v[1]} for k, v in SETTINGS.items()},
        "scale": scale,
    }
    DATA.write_text(json.dumps(card, indent=1) + "\n")
    ranked = {name: [row[name] for row in rows] for name in MEMBERS}
    ranked["zero-cost"] = [combine(row, scale).score for row in rows]
    ranked["macs"] = [float(sum(o.macs for o in operators(zoo.load(n)))) for n in table["network"]]
    taus = {
        name: round(float(kendalltau(values, table["top1"], nan_policy="omit")[0]), 3)
        for name, values in ranked.items()
    }
    ahead = ", ".join(name for name in taus if taus[name] > taus["macs"]) or "none"
    verdict = f"Ahead of counting MACs: {ahead}."
    options.results.mkdir(parents=True, exist_ok=True)
    lines = [
        "# Zero-cost scores of the 16 published networks against their top-1",
        "",
        f"Made by `{COMMAND}`: synthetic images, canonical initialisation; `zero-cost` is the mean",
        f"of the others in standard deviations. {verdict}",
        "",
        "| score | Kendall's tau |",
        "|---|---|",
        *(f"| {name} | {tau:.2f} |" for name, tau in taus.items()),
    ]
    (options.results / "zero_cost.md").write_text("\n".join(lines) + "\n")
    (options.results / "zero_cost.json").write_text(
        json.dumps({"command": COMMAND, "kendall_tau": taus}, indent=1) + "\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
