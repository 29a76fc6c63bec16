"""Fit the default score to published networks: `python -m effsearch.accuracy.fit_imagenet`.

Writes `effsearch/accuracy/data/imagenet.json`, which the package ships, and the evidence,
`results/accuracy/imagenet_estimate.{md,json}`.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from effsearch.accuracy import degenerates, timm_priors
from effsearch.accuracy.estimate import Estimate, Hyperparameters
from effsearch.accuracy.features import TOTALS, Array, Features, option_ranges
from effsearch.accuracy.imagenet import DATA, SCHEMA, ImagenetEstimate, hyperparameters
from effsearch.accuracy.imagenet_report import markdown, summary
from effsearch.accuracy.score import LOWER_BOUND_CONFIDENCE, Z
from searchspace import Architecture, UserError, zoo

COMMAND = "python -m effsearch.accuracy.fit_imagenet --data $EFFSEARCH_DATA"
# The one other official top-1 of a published network that seeds.csv gives, in its top1_source.
OTHER_TRAININGS = (("efficientmod_s", 81.0, 0),)
# What makes clearly another design, by judgement: 16 networks cannot tell 15 scales. Depth and
# width are relative to size; log, log2 or shares, as `features.shape` says.
SCALES = {
    "size": 1.0,
    "params_per_mac": 0.5,
    "activations_per_mac": 0.5,
    "depth": 0.3,
    "width": 0.5,
    "early": 0.6,
    "evenness": 0.6,
    "tokens": 0.7,
    "attention": 0.25,
    "stem_share": 0.1,
    "head_share": 0.1,
    "last_side": 0.5,
    "last_width": 0.5,
    "widening": 1.0,
    "options": 2.0,
}
# Nothing published lies outside the published range, so nothing can be fitted there: one scale
# outside costs 5% of the error, give or take as much. Nor is any published network of two
# families: half of each may make 4% of difference.
OUTSIDE = {"outside_mean": 0.05, "outside_std": 0.05, "mixing_std": 0.04}
# Chosen by marginal likelihood. The least values are floors: seeds alone move top-1 by 0.2 points,
# and four families are too few to say that families don't matter.
GRID = {
    "family_std": (0.03, 0.05, 0.1, 0.2),
    "residual_std": (0.02, 0.03, 0.05, 0.08),
    "residual_length": (1.0, 1.5, 2.0, 3.0, 4.0),
    "noise_std": (0.015, 0.02, 0.03, 0.04),
}
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Published:
    """The published networks, one row for each training.

    Attributes:
        names: of the networks.
        families: theirs.
        totals: (n, len(TOTALS)).
        distilled: 1 where trained with distillation (n,).
        top1: percent (n,).
        ranges: published range of each option.
    """

    names: tuple[str, ...]
    families: tuple[str, ...]
    totals: Array
    distilled: Array
    top1: Array
    ranges: dict[str, dict[str, list[float]]]

    def __len__(self) -> int:
        return len(self.names)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fit, evaluate and write."""
    parser = argparse.ArgumentParser(prog="python -m effsearch.accuracy.fit_imagenet")
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
    published = load_published(data / "published" / "seeds.csv")
    timm = timm_priors.load(data / "published" / "imagenet_timm.csv")
    fixed = {
        "slopes": timm_priors.slopes(timm) | {"distilled": timm_priors.distillation(timm)},
        "slopes_from": timm_priors.counts(timm),
        "scales": SCALES,
        **OUTSIDE,
    }
    everything = np.arange(len(published))
    chosen = choose(published, everything, fixed)
    no_rise = {**fixed, "outside_mean": 0.0}
    held_out = {
        "network": leave_out(published, fixed, published.names),
        "family": leave_out(published, fixed, published.families),
        "family_without_rise": leave_out(published, no_rise, published.families),
    }
    summaries = {f"leave_one_{name}_out": summary(rows) for name, rows in held_out.items()}
    card = {
        "schema": SCHEMA,
        "kind": "estimated",
        "unit": "ImageNet-1k top-1, %",
        "recipe": "as its families were published, without distillation",
        "command": COMMAND,
        "sources": ["published/seeds.csv", "published/imagenet_timm.csv"],
        "lower_bound": {"confidence": LOWER_BOUND_CONFIDENCE, "z": round(Z, 4)},
        "held_out": summaries,
        "prior": fixed | chosen,
        "option_ranges": published.ranges,
        "networks": [_row(published, i) for i in range(len(published))],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(card, indent=1) + "\n")
    model = condition(published, everything, hyperparameters(fixed | chosen))
    evidence = {
        "command": COMMAND,
        "held_out": summaries,
        "baselines": baselines(published),
        "prior": fixed | chosen,
        "posterior_slopes": {
            name: {"mean": round(m, 4), "std": round(s, 4)}
            for name, (m, s) in model.slopes().items()
        },
        "networks": [
            a | {"without_family": b["estimate"], "without_family_std": b["std"]}
            for a, b in zip(held_out["network"], held_out["family"], strict=True)
        ],
    }
    source = ImagenetEstimate(card)
    terms = {name: mean for name, (mean, _) in model.slopes().items()}
    evidence["size_terms_on_timm"] = timm_priors.transfer(timm, terms)
    evidence["degenerates"] = degenerate_places(source)
    results.mkdir(parents=True, exist_ok=True)
    (results / "imagenet_estimate.json").write_text(json.dumps(evidence, indent=1) + "\n")
    (results / "imagenet_estimate.md").write_text(markdown(evidence))
    print(json.dumps(summaries, indent=1), file=sys.stderr)


def load_published(path: Path) -> Published:
    """Read seeds.csv, with the zoo's architectures.

    Raises:
        UserError: where the file is missing.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file; --data is the folder that has published/")
    with path.open(encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    trained = [(row["network"], float(row["top1"]), int(row["distilled"])) for row in table]
    trained += OTHER_TRAININGS
    architectures = {name: zoo.load(name) for name, _, _ in trained}
    ranges = option_ranges(tuple(architectures.values()))
    features = Features(ranges)
    family = {row["network"]: row["family"] for row in table}
    return Published(
        names=tuple(name for name, _, _ in trained),
        families=tuple(family[name] for name, _, _ in trained),
        # As the data file holds them.
        totals=np.array([features(architectures[name]) for name, _, _ in trained]).round(6),
        distilled=np.array([distilled for _, _, distilled in trained], dtype=float),
        top1=np.array([top1 for _, top1, _ in trained]),
        ranges=ranges,
    )


def condition(published: Published, rows: Rows, prior: Hyperparameters) -> Estimate:
    """Return the estimate given some of the rows."""
    return Estimate(prior, published.totals[rows], published.distilled[rows], published.top1[rows])


def choose(published: Published, rows: Rows, fixed: Mapping[str, Any]) -> dict[str, float]:
    """Return the values of `GRID` with the highest marginal likelihood on some of the rows."""
    best: tuple[float, dict[str, float]] = (-np.inf, {})
    for values in itertools.product(*GRID.values()):
        point = dict(zip(GRID, values, strict=True))
        evidence = condition(published, rows, hyperparameters({**fixed, **point})).log_evidence
        if evidence > best[0]:
            best = (evidence, point)
    return best[1]


def leave_out(
    published: Published, fixed: Mapping[str, Any], groups: Sequence[str]
) -> list[dict[str, Any]]:
    """Return each network's estimate from the others, leaving its group out of everything.

    The hyperparameters are chosen again without the group; so are the ranges of shapes.
    """
    labels = np.array(groups)
    first = [i for i, name in enumerate(published.names) if name not in published.names[:i]]
    models: dict[str, Estimate] = {}
    rows = []
    for i in first:
        if groups[i] not in models:
            kept = np.flatnonzero(labels != groups[i])
            prior = hyperparameters({**fixed, **choose(published, kept, fixed)})
            models[groups[i]] = condition(published, kept, prior)
        model = models[groups[i]]
        mean, std = model.top1(published.totals[[i]], published.distilled[[i]])
        rows.append(
            {
                "network": published.names[i],
                "family": published.families[i],
                "distilled": int(published.distilled[i]),
                "top1": float(published.top1[i]),
                "estimate": round(float(mean[0]), 2),
                "std": round(float(std[0]), 2),
            }
        )
    return rows


def baselines(published: Published) -> dict[str, float]:
    """Return the taus of counts against the same published top-1."""
    n = len(published) - len(OTHER_TRAININGS)
    taus = {}
    for name in ("gmacs", "mparams", "mactivations"):
        values = published.totals[:n, TOTALS.index(name)]
        taus[name] = round(float(kendalltau(values, published.top1[:n])[0]), 3)
    return taus


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


def _row(published: Published, i: int) -> dict[str, Any]:
    totals = dict(zip(TOTALS, published.totals[i].tolist(), strict=True))
    return {
        "network": published.names[i],
        "top1": float(published.top1[i]),
        "distilled": int(published.distilled[i]),
        "totals": totals,
    }


if __name__ == "__main__":
    sys.exit(main())
