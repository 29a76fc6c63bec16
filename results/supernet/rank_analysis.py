"""How well inherited accuracy ranks networks: Kendall's tau against stand-alone training.

    python -m results.supernet.rank_analysis \
        --inherited results/supernet/mobile/inherited.csv \
        --evidence results/accuracy/evidence.csv \
        --architectures results/accuracy/architectures --out results/supernet/mobile

Beside the counts, over all networks and inside latency bands (pairs of the same band only), with
95 % bootstrap intervals over networks; and what networks trained on from the supernet reach above
the same from scratch (`--finetuned`). Writes ranking.json and ranking.md; with `--state HOW` also
what `--proxy supernet` says of itself.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student

from effsearch.accuracy.counted import Counted
from effsearch.accuracy.supernet_source import STATED
from results.accuracy.agreement import (
    Pairs,
    Values,
    all_pairs,
    bootstrap,
    interval,
    pair_tau,
    same_group,
    spread,
)
from results.accuracy.trained_networks import by_digest, further_scores
from searchspace import Architecture
from searchspace.errors import UserError

TARGET_TAU = 0.60
OWN = "inherited top-1"


def compare(
    scores: dict[str, Values], truth: Values, pairs: Pairs, own: str
) -> list[dict[str, Any]]:
    """Return tau, its interval, and the lead of `own` over each score with its interval."""
    draws = bootstrap(scores, truth, pairs)
    rows = []
    for name, score in scores.items():
        row: dict[str, Any] = {
            "score": name,
            "tau": round(pair_tau(score, truth, pairs), 4),
            "interval": interval(draws[name]),
        }
        if name != own:
            row["lead_of_inherited"] = interval(draws[own] - draws[name])
        rows.append(row)
    return rows


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
    truth_of = {digest: float(np.mean(v)) for digest, v in by_digest(evidence)[0].items()}
    rows = [row for row in rows if row["digest"] in truth_of]
    if len(rows) < 10:
        raise UserError(f"only {len(rows)} networks are in both tables; 10 are needed")
    bands = {member["digest"]: int(member["band"]) for member in index["members"]}
    nets = [Architecture.from_yaml(architectures / f"{row['architecture']}.yaml") for row in rows]
    truth = np.array([truth_of[row["digest"]] for row in rows])
    groups = np.array([float(bands.get(row["digest"], -1)) for row in rows])
    scores = {
        OWN: np.array([float(row["top1"]) for row in rows]),
        "inherited loss": np.array([-float(row["val_loss"]) for row in rows]),
    }
    for name in ("params", "macs", "depth", "depth+macs"):
        source = Counted(name)
        scores[name] = np.array([source.score(net).score for net in nets])
    if further is not None:
        others = further_scores(further, [row["digest"] for row in rows])
        defined = {name: values for name, values in others.items() if np.isfinite(values).all()}
        scores |= {name: values for name, values in defined.items() if name not in scores}
    inside = int((groups >= 0).sum())
    report = {
        "networks": len(rows),
        "networks_in_bands": inside,
        "bands": len(set(groups[groups >= 0])),
        "device_of_bands": index["device"],
        "supernet_steps": int(rows[0]["supernet_steps"]),
        "images": int(rows[0]["images"]),
        "recalibration_batches": int(rows[0]["recalibration_batches"]),
        "standalone_top1": spread(truth),
        "inherited_top1": spread(scores[OWN]),
        "target_tau": TARGET_TAU,
        "over_all": compare(scores, truth, all_pairs(len(truth)), OWN),
        "inside_bands": compare(scores, truth, same_group(groups), OWN) if inside >= 10 else [],
    }
    if finetuned is not None:
        report["inheritance"] = inheritance(finetuned)
    return report


def state(report: dict[str, Any], how: str) -> None:
    """Ship what `--proxy supernet` says of how inherited top-1 ranks networks.

    Args:
        report: of `analyse`.
        how: the supernets were made, in words; replaces what was said of the same.
    """
    known = json.loads(STATED.read_text("utf-8")) if STATED.exists() else []
    taus = {
        key: [round(value, 3) for value in (row["tau"], *row["interval"])]
        for key in ("over_all", "inside_bands")
        for row in report[key]
        if row["score"] == OWN
    }
    entry = {
        "how": how,
        "networks": report["networks"],
        "supernet_steps": report["supernet_steps"],
        "kendall_tau": taus,
        "command": report["command"],
    }
    entries = [e for e in known if e["how"] != how] + [entry]
    STATED.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")


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
    parser = argparse.ArgumentParser(prog="python -m results.supernet.rank_analysis")
    add = parser.add_argument
    add("--inherited", type=Path, required=True)
    add("--evidence", type=Path, default=Path("results/accuracy/evidence.csv"))
    add("--architectures", type=Path, default=Path("results/accuracy/architectures"))
    add("--scores", type=Path, help="CSV of other scores of the same networks, by digest")
    add("--finetuned", type=Path, help="table of networks trained on from the supernet")
    add("--out", type=Path, required=True)
    add("--state", metavar="HOW", help="ship the taus, as of supernets that were made so")
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
    report["command"] = f"python -m results.supernet.rank_analysis {shlex.join(words)}"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "ranking.json").write_text(json.dumps(report, indent=1) + "\n")
    if options.state is not None:
        state(report, options.state)
    text = markdown(report)
    (options.out / "ranking.md").write_text(text)
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
