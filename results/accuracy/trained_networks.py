"""The trained networks: architectures, top-1, latency, and other scores of the same networks."""

from __future__ import annotations

import csv
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from results.accuracy.agreement import Values
from results.accuracy.campaign_table import Row, Table
from searchspace import Architecture
from searchspace.errors import UserError

TABLE = Path("results/accuracy/evidence.csv")
ARCHITECTURES = Path("results/accuracy/architectures")
SCORES = Path("results/accuracy/zero_cost_scores.csv")
LEAST = 20


@dataclass(frozen=True)
class Trained:
    """Networks trained by one recipe.

    Attributes:
        digests: of the architectures.
        architectures: the networks.
        top1: mean top-1 over seeds in % (n,).
        seeds: trainings of each (n,).
        noise_std: standard deviation of one training's top-1 over seeds, in points, pooled over
            the networks with more than one; NaN where there is none.
        mean_ms: latency on `device` (n,).
        bands: number of its latency band, -1 outside all (n,).
        origins: name of the space it was drawn from, `small published` or `degenerate`.
        device: table of the latencies.
        recipe: name, digest, epochs, input side and data of the trainings.
    """

    digests: list[str]
    architectures: list[Architecture]
    top1: Values
    seeds: Values
    noise_std: float
    mean_ms: Values
    bands: Values
    origins: list[str]
    device: str
    recipe: dict[str, Any]

    def __len__(self) -> int:
        return len(self.digests)


def load(table: Path = TABLE, architectures: Path = ARCHITECTURES) -> Trained:
    """Return the networks of the table's most used recipe; diverged trainings are left out.

    Raises:
        UserError: where a file is missing or damaged, or too few networks are trained.
    """
    top1, first = by_digest(table)
    try:
        index = json.loads((architectures / "index.json").read_text())
        members = {member["digest"]: member for member in index["members"]}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{architectures / 'index.json'}: cannot be read ({error})") from None
    found = {digest: values for digest, values in top1.items() if digest in members}
    if len(found) < LEAST:
        raise UserError(f"{table}: {len(found)} trained networks are too few; {LEAST} are needed")
    digests = sorted(found)
    own = [members[digest] for digest in digests]
    return Trained(
        digests,
        [Architecture.from_yaml(architectures / f"{digest}.yaml") for digest in digests],
        np.array([float(np.mean(found[digest])) for digest in digests]),
        np.array([float(len(found[digest])) for digest in digests]),
        _noise(list(found.values())),
        np.array([float(member["mean_ms"]) for member in own]),
        np.array([float(member["band"]) for member in own]),
        [str(member["origin"]) for member in own],
        str(index["device"]),
        {
            "name": first.recipe,
            "digest": first.recipe_digest,
            "epochs": first.epochs,
            "side_px": first.side_px,
            "data": first.data,
            "trained_on": first.device,
        },
    )


def by_digest(table: Path) -> tuple[dict[str, list[float]], Row]:
    """Return top-1 in % of every seed by digest, of the table's most used recipe, and a row of it.

    Diverged trainings are left out.

    Raises:
        UserError: where the table is damaged, missing or empty.
    """
    rows = Table(table).rows
    if not rows:
        raise UserError(f"{table} holds no trained networks; python -m results.accuracy.campaign")
    most, _ = Counter(row.recipe_digest for row in rows).most_common(1)[0]
    rows = [row for row in rows if row.recipe_digest == most]
    found: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if not row.note:
            found[row.digest].append(row.top1)
    return dict(found), rows[0]


def _noise(groups: Sequence[Sequence[float]]) -> float:
    several = [np.array(group) for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in several)
    if not freedom:
        return float("nan")
    return float(np.sqrt(sum(((g - g.mean()) ** 2).sum() for g in several) / freedom))


def further_scores(path: Path, names: Sequence[str], group: str | None = None) -> dict[str, Values]:
    """Return other scores of the same networks, of a CSV: its numeric columns but `seconds`.

    Args:
        path: the file.
        names: values of its column `name`, or of `digest` without a group.
        group: value of its column `set`.

    Raises:
        UserError: where the file cannot be read, has no such columns, or lacks a network.
    """
    key = "digest" if group is None else "name"
    try:
        with path.open(newline="") as file:
            rows = {
                row[key]: row
                for row in csv.DictReader(file)
                if group is None or row["set"] == group
            }
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except KeyError as error:
        raise UserError(f"{path}: has no column {error}") from None
    lacking = [name for name in names if name not in rows]
    if lacking:
        raise UserError(f"{path}: has no row for {lacking[0]} (and {len(lacking) - 1} more)")
    found = {}
    for column in rows[names[0]]:
        try:
            found[column] = np.array([float(rows[name][column]) for name in names])
        except (TypeError, ValueError):
            continue
    found.pop("seconds", None)
    return found
