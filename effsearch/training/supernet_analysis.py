"""How well inherited accuracy ranks networks: Kendall's tau against stand-alone training.

    python -m effsearch.training.supernet_analysis \
        --inherited results/supernet/mobile/inherited.csv \
        --evidence results/accuracy/evidence.csv \
        --architectures results/accuracy/architectures --out results/supernet/mobile

Beside the counts, over all networks and inside latency bands (pairs of the same band only), with
95 % bootstrap intervals over networks; and what networks trained on from the supernet reach above
the same from scratch (`--finetuned`). Writes ranking.json and ranking.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from effsearch.accuracy.counted import Counted
from effsearch.training.evidence_table import Table
from searchspace import Architecture
from searchspace.errors import UserError

Values = npt.NDArray[np.float64]
TARGET_TAU = 0.60
DRAWS = 1000


def pair_tau(score: Values, truth: Values, groups: Values | None = None) -> float:
    """Return Kendall's tau-b over pairs, of the same group only where groups are given.

    Ties count neither way in the numerator. NaN where no pair is left.
    """
    s = np.sign(score[:, None] - score[None, :])
    t = np.sign(truth[:, None] - truth[None, :])
    upper = np.triu(np.ones((len(score), len(score)), dtype=bool), 1)
    if groups is not None:
        upper &= (groups[:, None] == groups[None, :]) & (groups >= 0)[:, None]
    s, t = s[upper], t[upper]
    scale = np.sqrt(float((s != 0).sum()) * float((t != 0).sum()))
    return float((s * t).sum() / scale) if scale else float("nan")


def bootstrap(
    scores: dict[str, Values], truth: Values, groups: Values | None, seed: int = 0
) -> dict[str, Values]:
    """Return tau of every score on the same bootstrap draws of the networks, (DRAWS,).

    A network that was drawn twice makes no pair with itself: such ties count neither way.
    """
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {name: [] for name in scores}
    for _ in range(DRAWS):
        rows = rng.integers(len(truth), size=len(truth))
        of_rows = None if groups is None else groups[rows]
        for name, score in scores.items():
            found[name].append(pair_tau(score[rows], truth[rows], of_rows))
    return {name: np.array(values) for name, values in found.items()}


def standalone(path: Path) -> dict[str, float]:
    """Return the mean stand-alone top-1 in % by digest, of the table's most used recipe.

    Raises:
        UserError: where the table is missing or empty.
    """
    rows = Table(path).rows
    if not rows:
        raise UserError(f"{path} holds no trained networks")
    recipe, _ = Counter(row.recipe_digest for row in rows).most_common(1)[0]
    seeds: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        if row.recipe_digest == recipe and not row.note:
            seeds[row.digest].append(row.top1)
    return {digest: float(np.mean(values)) for digest, values in seeds.items()}


def compare(
    scores: dict[str, Values], truth: Values, groups: Values | None, own: str
) -> list[dict[str, Any]]:
    """Return tau, its interval, and the lead of `own` over each score with its interval."""
    draws = bootstrap(scores, truth, groups)
    rows = []
    for name, score in scores.items():
        low, high = np.nanpercentile(draws[name], [2.5, 97.5])
        row: dict[str, Any] = {
            "score": name,
            "tau": round(pair_tau(score, truth, groups), 4),
            "interval": [round(float(low), 4), round(float(high), 4)],
        }
        if name != own:
            lead = np.nanpercentile(draws[own] - draws[name], [2.5, 97.5])
            row["lead_of_inherited"] = [round(float(v), 4) for v in lead]
        rows.append(row)
    return rows


def further_scores(path: Path, digests: Sequence[str]) -> dict[str, Values]:
    """Return other scores of the same networks: the numeric columns of a CSV with a `digest`.

    Raises:
        UserError: where the file has no such column, or lacks a network.
    """
    try:
        with path.open(newline="") as file:
            rows = {row["digest"]: row for row in csv.DictReader(file)}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    except KeyError:
        raise UserError(f"{path}: has no column digest") from None
    lacking = [digest for digest in digests if digest not in rows]
    if lacking:
        raise UserError(f"{path}: has no row for {lacking[0]} (and {len(lacking) - 1} more)")
    found = {}
    for name in rows[digests[0]]:
        if name == "seconds":
            continue  # what scoring took
        try:
            found[name] = np.array([float(rows[digest][name]) for digest in digests])
        except (TypeError, ValueError):
            continue
    return {name: values for name, values in found.items() if np.isfinite(values).all()}


def inheritance(path: Path) -> dict[str, Any]:
    """Return what training on from the supernet gains over training from scratch, in points.

    The interval is the 95 % one of Student's t over the networks.

    Args:
        path: table `finetuned.csv` of `supernet_evidence`.

    Raises:
        UserError: where it is missing, or has fewer than two networks with both starts.
    """
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    starts = {(row["digest"], row["start"]): row for row in rows}
    networks = []
    for row in rows:
        other = starts.get((row["digest"], "scratch"))
        if row["start"] != "inherited" or other is None:
            continue
        if row["steps"] != other["steps"]:
            raise UserError(f"{path}: {row['digest']} was not trained for equally many steps")
        networks.append(
            {
                "architecture": row["architecture"],
                "steps": int(row["steps"]),
                "inherited": float(row["before"]),
                "fine_tuned": float(row["top1"]),
                "scratch": float(other["top1"]),
                "gain": round(float(row["top1"]) - float(other["top1"]), 3),
            }
        )
    if len(networks) < 2:
        raise UserError(f"{path}: has {len(networks)} networks with both starts; 2 are needed")
    gains = np.array([network["gain"] for network in networks])
    half = float(student.ppf(0.975, len(gains) - 1) * gains.std(ddof=1) / np.sqrt(len(gains)))
    mean = float(gains.mean())
    return {
        "networks": networks,
        "mean_gain": round(mean, 3),
        "interval": [round(mean - half, 3), round(mean + half, 3)],
    }


def analyse(
    inherited: Path,
    evidence: Path,
    architectures: Path,
    further: Path | None = None,
    finetuned: Path | None = None,
) -> dict[str, Any]:
    """Return the whole comparison.

    Args:
        inherited: table of `supernet_evidence`.
        evidence: table of networks trained alone.
        architectures: folder of their YAML files, with `index.json`.
        further: CSV of other scores of the same networks, zero-cost ones say, by digest.
        finetuned: table of networks trained on from the supernet and from scratch.

    Raises:
        UserError: where a file is missing or too few networks are in both tables.
    """
    try:
        with inherited.open(newline="") as file:
            rows = list(csv.DictReader(file))
        index = json.loads((architectures / "index.json").read_text())
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read: {error.strerror}") from error
    truth_of = standalone(evidence)
    rows = [row for row in rows if row["digest"] in truth_of]
    if len(rows) < 10:
        raise UserError(f"only {len(rows)} networks are in both tables; 10 are needed")
    bands = {member["digest"]: int(member["band"]) for member in index["members"]}
    nets = [Architecture.from_yaml(architectures / f"{row['architecture']}.yaml") for row in rows]
    truth = np.array([truth_of[row["digest"]] for row in rows])
    groups = np.array([float(bands.get(row["digest"], -1)) for row in rows])
    scores = {
        "inherited top-1": np.array([float(row["top1"]) for row in rows]),
        "inherited loss": np.array([-float(row["val_loss"]) for row in rows]),
    }
    for name in ("params", "macs", "depth", "depth+macs"):
        source = Counted(name)
        scores[name] = np.array([source.score(net).score for net in nets])
    if further is not None:
        others = further_scores(further, [row["digest"] for row in rows])
        scores |= {name: values for name, values in others.items() if name not in scores}
    own = "inherited top-1"
    inside = int((groups >= 0).sum())
    report = {
        "networks": len(rows),
        "networks_in_bands": inside,
        "bands": len(set(groups[groups >= 0])),
        "device_of_bands": index["device"],
        "supernet_steps": int(rows[0]["supernet_steps"]),
        "images": int(rows[0]["images"]),
        "recalibration_batches": int(rows[0]["recalibration_batches"]),
        "standalone_top1": _spread(truth),
        "inherited_top1": _spread(scores[own]),
        "target_tau": TARGET_TAU,
        "over_all": compare(scores, truth, None, own),
        "inside_bands": compare(scores, truth, groups, own) if inside >= 10 else [],
    }
    if finetuned is not None:
        report["inheritance"] = inheritance(finetuned)
    return report


def _spread(values: Values) -> dict[str, float]:
    return {
        "min": round(float(values.min()), 2),
        "median": round(float(np.median(values)), 2),
        "max": round(float(values.max()), 2),
    }


def markdown(report: dict[str, Any]) -> str:
    """Return the comparison as tables."""
    lines = [
        "# Ranking by inherited accuracy",
        "",
        f"{report['networks']} networks trained alone, {report['networks_in_bands']} of them in "
        f"{report['bands']} latency bands of {report['device_of_bands']}; supernet trained for "
        f"{report['supernet_steps']} steps; {report['images']} validation images and "
        f"{report['recalibration_batches']} recalibration batches a network. Kendall's tau with "
        "95 % bootstrap intervals over networks; the lead is that of inherited top-1.",
    ]
    for key, title in (("over_all", "Over all"), ("inside_bands", "Inside latency bands")):
        lines += ["", f"## {title}", "", "| score | tau | 95 % | lead |", "|---|---|---|---|"]
        for row in report[key]:
            low, high = row["interval"]
            lead = row.get("lead_of_inherited")
            text = f"{lead[0]:+.3f} to {lead[1]:+.3f}" if lead else ""
            lines.append(
                f"| {row['score']} | {row['tau']:.3f} | {low:.3f} to {high:.3f} | {text} |"
            )
    if "inheritance" in report:
        lines += _inheritance_lines(report["inheritance"])
    return "\n".join(lines) + "\n"


def _inheritance_lines(found: dict[str, Any]) -> list[str]:
    low, high = found["interval"]
    head = "| network | steps | inherited | trained on | from scratch | gain |"
    lines = ["", "## Trained on from the supernet, and from scratch", "", head, "|---" * 6 + "|"]
    lines += [
        f"| {row['architecture']} | {row['steps']} | {row['inherited']:.2f} | "
        f"{row['fine_tuned']:.2f} | {row['scratch']:.2f} | {row['gain']:+.2f} |"
        for row in found["networks"]
    ]
    text = (
        f"Top-1 in %; mean gain {found['mean_gain']:+.2f} points (95 % {low:+.2f} to {high:+.2f})."
    )
    return [*lines, "", text]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m effsearch.training.supernet_analysis")
    add = parser.add_argument
    add("--inherited", type=Path, required=True)
    add("--evidence", type=Path, default=Path("results/accuracy/evidence.csv"))
    add("--architectures", type=Path, default=Path("results/accuracy/architectures"))
    add("--scores", type=Path, help="CSV of other scores of the same networks, by digest")
    add("--finetuned", type=Path, help="table of networks trained on from the supernet")
    add("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        report = analyse(
            options.inherited,
            options.evidence,
            options.architectures,
            options.scores,
            options.finetuned,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    words = sys.argv[1:] if arguments is None else arguments
    report["command"] = "python -m effsearch.training.supernet_analysis " + " ".join(words)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ranking.json").write_text(json.dumps(report, indent=1) + "\n")
    text = markdown(report)
    (options.out / "ranking.md").write_text(text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
