"""Which recipe ranks published networks as ImageNet did, from what cost, after how many epochs?

    python -m results.outcome.judge --trainings results/outcome/trainings.csv

Reads the campaign's table and writes `judge.json`, `judge.md` and `judge.png`: for every recipe on
every data set Kendall's tau between the top-1 that it gave and the published one, over all pairs
and over pairs of one family, with 95 % intervals by bootstrap over the networks, the chance of such
a tau without any relation, the same for networks ranked by their MACs, and tau after each epoch,
also with the recipe's own order after its last epoch: what a rung of `--refine` knows of the end.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from effsearch.published import Published, published
from results.accuracy.agreement import (
    all_pairs,
    bootstrap,
    interval,
    pair_tau,
    same_group,
)
from results.accuracy.campaign_table import Row, Table
from results.accuracy.fidelity import seed_noise
from searchspace.errors import UserError

HERE = Path(__file__).parent
NETWORKS_MIN = 4
DRAWS = 2000
Values = NDArray[np.float64]


def curve_of(row: Row) -> dict[int, float]:
    """Returns top-1 in % by epoch."""
    points = (point.split(":") for point in row.curve.split())
    return {int(epoch): float(top1) for epoch, top1 in points}


def by_recipe(rows: Sequence[Row]) -> dict[tuple[str, str, str], list[Row]]:
    """Returns the rows of every (data, recipe name, recipe digest), diverged ones included."""
    groups: dict[tuple[str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.data.split(":")[0], row.recipe, row.recipe_digest].append(row)
    return groups


def mean_curves(rows: Sequence[Row]) -> dict[str, dict[int, float]]:
    """Returns the mean over seeds of every network's curve, by network."""
    found: dict[str, list[dict[int, float]]] = defaultdict(list)
    for row in rows:
        found[row.architecture].append(curve_of(row))
    return {
        name: {epoch: float(np.mean([c[epoch] for c in curves])) for epoch in curves[0]}
        for name, curves in found.items()
    }


def agreement(
    score: Values, truth: Values, families: Sequence[str], seed: int = 0
) -> dict[str, Any]:
    """Compares a score with the truth.

    Args:
        score: of every network (n,).
        truth: published top-1 in % (n,).
        families: of every network.
        seed: of the bootstrap.

    Returns:
        tau, its 95 % interval over all pairs and over pairs of one family, the number of pairs,
        and the share of random orders of the networks whose tau is as high.
    """
    numbers = np.unique(np.asarray(families), return_inverse=True)[1].astype(float)
    result: dict[str, Any] = {"networks": len(score)}
    for name, pairs in (("all", all_pairs(len(score))), ("within", same_group(numbers))):
        tau = pair_tau(score, truth, pairs)
        if np.isnan(tau):
            result[name] = None
            continue
        draws = bootstrap({"score": score}, truth, pairs, seed, DRAWS)["score"]
        result[name] = {
            "pairs": int(pairs.sum()),
            "tau": round(tau, 4),
            "interval_95": interval(draws),
            "chance": round(chance(score, truth, pairs, tau, seed), 4),
        }
    return result


def chance(score: Values, truth: Values, pairs: Any, tau: float, seed: int) -> float:
    """Returns the share of random orders of the networks whose tau is at least `tau`."""
    rng = np.random.default_rng(seed)
    taus = [pair_tau(rng.permutation(score), truth, pairs) for _ in range(DRAWS)]
    return float(np.mean([value >= tau - 1e-9 for value in taus]))


def judged(
    rows: Sequence[Row], truths: Mapping[str, Published], macs: Mapping[str, float]
) -> dict[str, Any] | None:
    """Judges one recipe on one data set.

    Args:
        rows: Its trainings.
        truths: Published records by network.
        macs: MACs at the published resolution by network.

    Returns:
        What `judge.json` holds of it; None with fewer than four published networks.
    """
    known = [row for row in rows if row.architecture in truths]
    curves = mean_curves(known)
    names = sorted(curves)
    if len(names) < NETWORKS_MIN:
        return None
    truth = np.array([truths[name].top1 for name in names])
    families = [truths[name].family for name in names]
    last = {name: max(curves[name]) for name in names}
    final = np.array([curves[name][last[name]] for name in names])
    shared = sorted(set.intersection(*(set(curve) for curve in curves.values())))

    def after(epoch: int) -> Values:
        return np.array([curves[name][epoch] for name in names])

    images = int(known[0].data.split(":")[1].split("+")[0])
    return {
        "data": known[0].data,
        "recipe": known[0].recipe,
        "recipe_digest": known[0].recipe_digest,
        "epochs": known[0].epochs,
        "side_px": known[0].side_px,
        "trainings": len(known),
        "device": known[0].device,
        "seconds_median": round(float(np.median([row.seconds for row in known])), 1),
        "teramacs_median": round(
            float(np.median([3 * r.macs_m * r.epochs * images / 1e6 for r in known])), 6
        ),
        "final": agreement(final, truth, families),
        "by_macs": agreement(np.array([macs[name] for name in names]), truth, families),
        "seed_noise": seed_noise(known),
        "curve": [
            {
                "epoch": epoch,
                **agreement(after(epoch), truth, families),
                "of_last": round(pair_tau(after(epoch), final, all_pairs(len(names))), 4),
            }
            for epoch in shared
        ],
        "networks": [
            {
                "network": name,
                "family": truths[name].family,
                "published": truths[name].top1,
                "distilled": truths[name].distilled,
                "top1": round(float(value), 2),
                "seeds": sum(row.architecture == name for row in known),
                "seconds": round(
                    float(np.mean([r.seconds for r in known if r.architecture == name])), 1
                ),
            }
            for name, value in sorted(zip(names, final, strict=True), key=lambda pair: -pair[1])
        ],
    }


def judge(
    rows: Sequence[Row], truths: Mapping[str, Published], macs: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Judges every recipe on every data set, cheapest first.

    Raises:
        UserError: No recipe has four published networks.
    """
    found = [judged(group, truths, macs) for group in by_recipe(rows).values()]
    results = [result for result in found if result is not None]
    if not results:
        raise UserError(
            f"no recipe has {NETWORKS_MIN} published networks yet; run results.outcome.campaign"
        )
    return sorted(results, key=lambda r: (r["data"], r["teramacs_median"]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m results.outcome.judge")
    parser.add_argument("--trainings", type=Path, nargs="+", default=[HERE / "trainings.csv"])
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args(arguments)
    try:
        rows = [row for path in options.trainings for row in Table(path).rows]
        results = judge(rows, published(), published_macs())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    from results.outcome.judge_report import draw, text

    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "judge.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "judge.md").write_text(text(results))
    draw(results, options.out / "judge.png")
    print(text(results))
    return 0


def published_macs() -> dict[str, float]:
    """Returns the MACs of the published networks at their own resolution."""
    import torch

    from effsearch.training.cost import build_network, cost_of
    from searchspace import zoo

    found = {}
    for name in zoo.names():
        architecture = zoo.load(name)
        with torch.device("meta"):
            network = build_network(architecture, 1000)
        found[name] = float(cost_of(network, architecture.resolution).macs)
    return found


if __name__ == "__main__":
    sys.exit(main())
