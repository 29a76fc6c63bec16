"""Published networks, the best scaled ones and winners side by side: win, tie or loss.

    python -m results.outcome.campaign --architectures outcome/*.yaml --recipes NAME --seeds 0 1 \
        --data imagenette-144.zip --out results/outcome/outcome.csv
    python -m results.outcome.comparison outcome.yaml --trainings results/outcome/outcome.csv

The YAML file names who is compared, latency by latency:

    - latency: SHViT-S1's, 1.8 ms on this CPU
      published: [shvit_s1]
      scaled: [scaled-1]
      winners: [winner-1, winner-2, winner-3]

A winner wins where the interval of its lead lies above zero, loses where it lies below, and ties
where it holds zero. The interval takes in the spread of the seeds, pooled over all networks, and
that of the validation images. Both networks see the same images, so that images taken as drawn
anew for each widen it: a win is a win.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy.stats import t as student

from results.accuracy.campaign_table import Row, Table
from results.accuracy.fidelity import seed_noise
from searchspace.errors import UserError

HERE = Path(__file__).parent
ROLES = ("published", "scaled")


def results_of(rows: Sequence[Row]) -> dict[str, list[float]]:
    """Returns top-1 of every seed, in %, by network."""
    found: dict[str, list[float]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.seed):
        found[row.architecture].append(row.top1)
    return dict(found)


def lead(
    ours: Sequence[float],
    theirs: Sequence[float],
    seed_std: float,
    freedom: int,
    images: int,
    level: float = 0.8,
) -> dict[str, Any]:
    """Compares two networks.

    Args:
        ours: top-1 of every seed, in %.
        theirs: that of the other network.
        seed_std: standard deviation between seeds, in points.
        freedom: degrees of freedom that it was estimated with.
        images: validation images.
        level: of the interval.

    Returns:
        The lead in points, its interval, and `win`, `tie` or `loss`.
    """
    difference = float(np.mean(ours) - np.mean(theirs))
    variance = seed_std**2 * (1 / len(ours) + 1 / len(theirs))
    for values in (ours, theirs):
        share = float(np.mean(values))
        variance += share * (100 - share) / images
    reach = float(student.ppf((1 + level) / 2, max(1, freedom))) * math.sqrt(variance)
    low, high = difference - reach, difference + reach
    verdict = "win" if low > 0 else "loss" if high < 0 else "tie"
    return {
        "lead": round(difference, 2),
        "interval": [round(low, 2), round(high, 2)],
        "verdict": verdict,
    }


def compare(
    rows: Sequence[Row], groups: Sequence[Mapping[str, Any]], level: float = 0.8
) -> dict[str, Any]:
    """Compares the winners of every latency with its published and scaled networks.

    Args:
        rows: Trainings by one recipe on one data set.
        groups: Who is compared, as in the YAML file.
        level: of the intervals.

    Raises:
        UserError: Trainings of several recipes or data sets, or a network that was not trained.
    """
    kinds = {(row.data, row.recipe, row.recipe_digest) for row in rows}
    if len(kinds) != 1:
        raise UserError(
            f"the trainings are of {len(kinds)} recipes and data sets; a comparison takes one: "
            "name it with --recipe and --data"
        )
    trained = results_of(rows)
    noise = seed_noise(rows)
    if noise["std_points"] is None:
        raise UserError("no network has two seeds, so that no interval can be given")
    freedom = sum(len(values) - 1 for values in trained.values())
    ((data, recipe, _),) = kinds
    images = int(data.split("+")[-1])
    table = []
    for group in groups:
        members = [name for role in (*ROLES, "winners") for name in group.get(role, ())]
        missing = [name for name in members if name not in trained]
        if missing:
            raise UserError(f"{', '.join(missing)}: not trained by {recipe}; run the campaign")
        table.append(
            {
                "latency": group["latency"],
                "top1": {name: [round(v, 2) for v in trained[name]] for name in members},
                "comparisons": [
                    {
                        "winner": winner,
                        "role": role,
                        "against": other,
                        **lead(
                            trained[winner],
                            trained[other],
                            noise["std_points"],
                            freedom,
                            images,
                            level,
                        ),
                    }
                    for winner in group.get("winners", ())
                    for role in ROLES
                    for other in group.get(role, ())
                ],
            }
        )
    return {
        "data": data,
        "recipe": recipe,
        "level": level,
        "seed_std": round(noise["std_points"], 3),
        "latencies": table,
    }


def text(found: Mapping[str, Any]) -> str:
    """Returns the table as Markdown."""
    level = f"{100 * found['level']:.0f} %"
    lines = [
        f"Recipe {found['recipe']} on {found['data']}; seeds differ by {found['seed_std']:.2f} "
        f"points (standard deviation). Lead in points of top-1, with its {level} interval.",
        "",
        "| latency | winner | top-1, by seed | against | top-1, by seed | lead | |",
        "|---|---|---|---|---|---|---|",
    ]
    for group in found["latencies"]:
        for pair in group["comparisons"]:
            low, high = pair["interval"]
            ours, theirs = (
                ", ".join(f"{value:.1f}" for value in group["top1"][pair[side]])
                for side in ("winner", "against")
            )
            lines.append(
                f"| {group['latency']} | {pair['winner']} | {ours} | {pair['against']} "
                f"({pair['role']}) | {theirs} | {pair['lead']:+.1f} ({low:+.1f} to {high:+.1f}) | "
                f"{pair['verdict']} |"
            )
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m results.outcome.comparison")
    parser.add_argument("groups", type=Path, help="YAML file of who is compared")
    parser.add_argument("--trainings", type=Path, default=HERE / "outcome.csv")
    parser.add_argument("--recipe", help="name of the recipe, where the table holds several")
    parser.add_argument("--data", help="name of the data set, where the table holds several")
    parser.add_argument("--level", type=float, default=0.8)
    parser.add_argument("--out", type=Path, default=HERE / "outcome.json", help="and .md beside it")
    options = parser.parse_args(arguments)
    try:
        rows = [
            row
            for row in Table(options.trainings).rows
            if options.recipe in (None, row.recipe)
            and options.data in (None, row.data.split(":")[0])
        ]
        found = compare(rows, read_groups(options.groups), options.level)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    options.out.with_suffix(".md").write_text(text(found))
    print(text(found))
    return 0


def read_groups(path: Path) -> list[dict[str, Any]]:
    """Returns who is compared.

    Raises:
        UserError: The file is missing or says something else.
    """
    try:
        groups = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    lists = ("published", "scaled", "winners")
    if not isinstance(groups, list) or not all(
        isinstance(group, dict)
        and "latency" in group
        and all(isinstance(group.get(key, []), list) for key in lists)
        for group in groups
    ):
        raise UserError(f"{path} must be a list of latency, published, scaled and winners")
    return groups


if __name__ == "__main__":
    sys.exit(main())
