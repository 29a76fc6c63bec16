"""Fit the default score to published networks: `python -m results.accuracy.fit_imagenet`.

Writes `effsearch/accuracy/data/imagenet.json`, which the package ships, and the evidence,
`results/accuracy/imagenet_estimate.{md,json}`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.accuracy.estimate import COEFFICIENTS, TERMS, Estimate
from effsearch.accuracy.features import TOTALS
from effsearch.accuracy.imagenet import DATA, SCHEMA, ImagenetEstimate
from effsearch.accuracy.score import LOWER_BOUND_CONFIDENCE, Z
from results.accuracy import degenerates, held_out, timm_priors
from results.accuracy.hierarchical import EPOCHS, PRIORS, Evidence, Posterior, choose
from results.accuracy.imagenet_report import markdown
from results.accuracy.published_evidence import Row, load, seed_graphs
from searchspace import Architecture, UserError

COMMAND = "python -m results.accuracy.fit_imagenet --data $EFFSEARCH_DATA"
_SOURCES = ("seeds.csv", "variants.csv", "imagenet_timm.csv")


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, evaluate and write."""
    parser = argparse.ArgumentParser(prog="python -m results.accuracy.fit_imagenet")
    parser.add_argument("--data", default=os.environ.get("EFFSEARCH_DATA"), help="shared data")
    parser.add_argument("--out", type=Path, default=DATA, help="the package's data file")
    parser.add_argument("--results", type=Path, default=Path("results/accuracy"))
    options = parser.parse_args(arguments)
    try:
        if options.data is None:
            raise UserError("--data: give the folder of published data, or set EFFSEARCH_DATA")
        run(Path(options.data), options.out, options.results)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(data: Path, out: Path, results: Path) -> None:
    """Write the data file and the evidence."""
    _say("reading what is published")
    rows, option_ranges, left = load(data)
    slopes = timm_priors.slopes(timm_priors.load(data / "published" / "imagenet_timm.csv"))
    evidence = Evidence.of_terms(rows, slopes)
    _say(f"fitting {len(rows)} rows")
    posterior = fitted(evidence)
    product = posterior.product()
    judged = judge(evidence, posterior, [*graph_rows(rows), *seed_graphs(rows, data)])
    # What a foreign graph adds to the spread is what leaving papers out says.
    product.foreign_std = judged.pop("foreign_std")
    card = card_of(product, option_ranges, judged["held_out"])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(card, indent=1) + "\n")
    _say("placing the planted degenerates")
    page = {
        "command": COMMAND,
        "rows": used(rows, left),
        "scales": asdict(posterior.scales),
        "terms": terms(evidence, posterior),
        "levels": levels(product),
        "recipes": recipes(evidence, posterior),
        **judged,
        "degenerates": degenerate_places(ImagenetEstimate(card)),
    }
    results.mkdir(parents=True, exist_ok=True)
    (results / "imagenet_estimate.json").write_text(json.dumps(page, indent=1) + "\n")
    (results / "imagenet_estimate.md").write_text(markdown(page))


def fitted(evidence: Evidence) -> Posterior:
    """Return the posterior given all rows."""
    everything = np.arange(len(evidence.rows))
    return Posterior(evidence, everything, choose(evidence, everything))


def judge(
    evidence: Evidence, posterior: Posterior, graphs: Sequence[tuple[Row, Any]]
) -> dict[str, Any]:
    """Return everything that leaving out says, and the same of counts."""
    _say("leaving out networks and families")
    networks, families = held_out.networks(evidence), held_out.families(evidence)
    _say("leaving out groups")
    pairs = held_out.groups(evidence)
    _say("leaving out papers, for graphs alone")
    foreign, foreign_std = held_out.foreign(evidence, posterior, graphs)
    summaries: dict[str, Any] = {
        "leave_one_network_out": held_out.summary(networks),
        "leave_one_family_out": held_out.summary(families),
        "pairs_without_recipe": held_out.pair_summary(pairs, "without_recipe"),
        "pairs_without_pair": held_out.pair_summary(pairs, "without_pair"),
        "foreign_graphs": held_out.summary(foreign),
    }
    baselines = {}
    for count in held_out.COUNTS:
        _say(f"the same by {count} alone")
        counted = Evidence.of_count(
            [row for row in evidence.rows if not np.isnan(row.totals[TOTALS.index(count)])], count
        )
        alone = held_out.groups(counted)
        baselines[count] = {
            "leave_one_network_out": held_out.summary(held_out.networks(counted)),
            "leave_one_family_out": held_out.summary(held_out.families(counted)),
            "pairs_without_recipe": held_out.pair_summary(alone, "without_recipe"),
            "pairs_without_pair": held_out.pair_summary(alone, "without_pair"),
        }
    members = [pair for pair in pairs if pair["via"] == ["exact"]]
    return {
        "held_out": summaries,
        "members_only": {
            by: held_out.pair_summary(members, by) for by in ("without_recipe", "without_pair")
        },
        "baselines": baselines,
        "changes": held_out.changes(evidence, posterior),
        "networks": [
            a | {"without_family": b["estimate"], "without_family_std": b["std"]}
            for a, b in zip(networks, _ordered(families, networks), strict=True)
        ],
        "groups": held_out.by_group(pairs),
        "foreign": foreign,
        "foreign_std": foreign_std,
    }


def card_of(
    product: Estimate, option_ranges: Mapping[str, Any], summaries: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the contents of the data file."""
    stds = np.sqrt(np.diag(product.covariance))
    return {
        "schema": SCHEMA,
        "kind": "estimated",
        "unit": "ImageNet-1k top-1, %",
        "recipe": "300 epochs as its families were published; `distilled` is added where asked for",
        "command": COMMAND,
        "sources": [f"published/{name}" for name in _SOURCES] + ["phones/graphs"],
        "lower_bound": {"confidence": LOWER_BOUND_CONFIDENCE, "z": round(Z, 4)},
        "held_out": dict(summaries),
        "noise_std": round(product.noise_std, 5),
        "foreign_std": round(product.foreign_std, 5),
        "mixing_std": product.mixing_std,
        "option_ranges": dict(option_ranges),
        "shape_ranges": dict(product.ranges),
        "coefficients": {
            name: {"mean": round(float(m), 7), "std": round(float(s), 7)}
            for name, m, s in zip(COEFFICIENTS, product.mean, stds, strict=True)
        },
        "covariance": [[float(f"{v:.6g}") for v in row] for row in product.covariance],
    }


def used(rows: Sequence[Row], left: Mapping[str, int]) -> dict[str, Any]:
    """Return how many rows are used, by how their totals were come by, and what is left out."""
    return {
        "used": len(rows),
        "recipes": len({row.recipe for row in rows}),
        "via": dict(Counter(row.via for row in rows)),
        "left_out": dict(left),
    }


def terms(evidence: Evidence, posterior: Posterior) -> list[dict[str, Any]]:
    """Return each slope: its prior, where that is from, its posterior, and who informs it.

    The groups named are those within which the term varies most, in units of their noise.
    """
    stds = np.sqrt(np.diag(posterior.covariance))
    noise = evidence.noise(posterior.scales)
    found = []
    for name in (*TERMS, "distilled", EPOCHS):
        i = evidence.names.index(name)
        mean, std = evidence.priors[name]
        weight: dict[str, float] = {}
        for recipe in evidence.recipes:
            mine = evidence.recipe == recipe
            values = evidence.design[mine, i]
            weight[recipe] = float((((values - values.mean()) / noise[mine]) ** 2).sum())
        most = sorted(weight, key=lambda r: -weight[r])[:3]
        found.append(
            {
                "term": name,
                "what": TERMS.get(name, ""),
                "prior": round(mean, 4),
                "prior_std": round(std, 4),
                "prior_from": PRIORS[name][2] if name in PRIORS else "timm's table, within recipes",
                "mean": round(float(posterior.mean[i]), 4),
                "std": round(float(stds[i]), 4),
                "evidence": [r for r in most if weight[r] > 1e-6],
            }
        )
    return found


def levels(product: Estimate) -> dict[str, dict[str, float]]:
    """Return the level of each family, and what its recipe changes."""
    stds = np.sqrt(np.diag(product.covariance))
    return {
        name: {"mean": round(float(m), 4), "std": round(float(s), 4)}
        for name, m, s in zip(COEFFICIENTS, product.mean, stds, strict=True)
        if "." in name
    }


def recipes(evidence: Evidence, posterior: Posterior) -> list[dict[str, Any]]:
    """Return each recipe's rows and level."""
    stds = np.sqrt(np.diag(posterior.covariance))
    found = []
    for recipe in evidence.recipes:
        i = evidence.names.index(f"recipe.{recipe}")
        vias = Counter(row.via for row in evidence.rows if row.recipe == recipe)
        level = {"mean": round(float(posterior.mean[i]), 3), "std": round(float(stds[i]), 3)}
        found.append({"recipe": recipe, "rows": dict(vias), **level})
    return found


def graph_rows(rows: Sequence[Row]) -> list[tuple[Row, Any]]:
    """Return the rows whose totals are those of a graph, once for each network."""
    first: dict[tuple[float, ...], Row] = {}
    for row in rows:
        if row.via == "graph":
            first.setdefault(tuple(row.totals.round(6)), row)
    return [(row, row.totals) for row in first.values()]


def degenerate_places(source: ImagenetEstimate) -> list[dict[str, Any]]:
    """Return each planted network beside the best published one of no more MACs."""

    def gmacs(architecture: Architecture) -> float:
        return float(source.features(architecture)[TOTALS.index("gmacs")])

    return [
        {
            "network": place.name,
            "estimate": round(place.score.score, 2),
            "std": round(place.score.std, 2),
            "lower_bound": round(place.score.lower_bound, 2),
            "rival": place.rival,
            "rival_lower_bound": round(place.rival_score.lower_bound, 2),
        }
        for place in degenerates.places(source.score, gmacs)
    ]


def _ordered(
    rows: Sequence[dict[str, Any]], like: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    by_name = {row["network"]: row for row in rows}
    return [by_name[row["network"]] for row in like]


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
