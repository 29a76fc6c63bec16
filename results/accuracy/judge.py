"""Judges every accuracy score on the trained networks: the numbers of the proxy card."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import kendalltau, spearmanr

from effsearch.accuracy import zero_cost
from effsearch.accuracy.counted import Counted
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.accuracy.score import Score
from results.accuracy import degenerates
from results.accuracy.agreement import (
    Pairs,
    Values,
    all_pairs,
    bootstrap,
    interval,
    near_pairs,
    noise_ceiling,
    pair_tau,
    same_group,
    spread,
)
from results.accuracy.trained_networks import Trained, further_scores
from searchspace import Architecture, zoo

COUNTS = ("params", "macs", "depth", "depth+macs")
PUBLISHED = "imagenet"
NEAR = 0.10
_LEAST_PAIRS = 10


@dataclass(frozen=True)
class Judged:
    """A score of the trained networks.

    Attributes:
        name: of the source.
        group: `count`, `zero-cost`, `published` or `inherited`.
        values: (n,).
        ms: time for one candidate; None where it was not measured.
    """

    name: str
    group: str
    values: Values
    ms: float | None = None


def judge(
    trained: Trained,
    source: ImagenetEstimate,
    scores: Path | None = None,
    inherited: Mapping[str, Mapping[str, float]] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Return everything that the proxy card says of the trained networks.

    Args:
        trained: the networks.
        source: the published estimate.
        scores: CSV of their zero-cost scores; None leaves those out.
        inherited: top-1 with a supernet's weights by digest, of some or all networks; several
            ways of training it by name.
        progress: called with a line now and then.

    Raises:
        UserError: where the zero-cost scores lack a network.
    """
    top1 = trained.top1
    found = [_count(name, trained.architectures) for name in COUNTS]
    if scores is not None:
        columns = further_scores(scores, trained.digests, None)
        found += [Judged(n, "zero-cost", columns[n]) for n in zero_cost.NAMES]
        found.append(Judged("az-nas", "zero-cost", _az_nas(columns, found[1].values)))
    published = np.array([source.score(a).score for a in trained.architectures])
    ms = milliseconds(source.score, trained.architectures)
    found.append(Judged(PUBLISHED, "published", published, ms))
    for name, top1_of in (inherited or {}).items():
        values = np.array([top1_of.get(digest, np.nan) for digest in trained.digests])
        found.append(Judged(name, "inherited", values))
    noise = trained.noise_std
    pairs = {"all": all_pairs(len(trained)), "near": near_pairs(trained.mean_ms, NEAR)}
    tables = {}
    for name, chosen in pairs.items():
        progress(f"bootstrap over {int(chosen.sum())} pairs")
        tables[name] = {
            "pairs": int(chosen.sum()),
            "noise_ceiling": round(noise_ceiling(top1, noise, chosen), 3)
            if np.isfinite(noise)
            else None,
            "scores": compare(found, top1, chosen),
        }
    return {
        "networks": len(trained),
        "device": trained.device,
        "recipe": trained.recipe,
        "top1": spread(top1),
        "seed_noise_std_points": None if np.isnan(noise) else round(noise, 3),
        "networks_with_more_seeds": int((trained.seeds > 1).sum()),
        "near_within": NEAR,
        "agreement": tables,
        "spearman": {j.name: _spearman(j.values, top1) for j in found},
        "per_band": _per_band(found, trained),
        "ms_per_candidate": {j.name: round(j.ms, 3) for j in found if j.ms is not None},
        "degenerates": _places(found, trained),
    }


def compare(found: Sequence[Judged], truth: Values, pairs: Pairs) -> list[dict[str, Any]]:
    """Return tau of each score with its interval, and inherited accuracy's lead over the others.

    The best of the others is the one that is best on these very networks: the lead is not flattered
    by the choice. All intervals are of the same bootstrap draws of networks, but those of the leads
    of scores that some networks lack: these are compared on the pairs that they have.
    """
    draws = bootstrap({j.name: j.values for j in found}, truth, pairs)
    rows_out = []
    for judged in found:
        row: dict[str, Any] = {
            "score": judged.name,
            "group": judged.group,
            "tau": round(pair_tau(judged.values, truth, pairs), 3),
            "interval": interval(draws[judged.name]),
        }
        known = ~np.isnan(judged.values)
        if not known.all():
            row["networks"] = int(known.sum())
        if judged.group == "inherited":
            shared, own = pairs & np.outer(known, known), draws
            if not known.all():
                own = bootstrap({j.name: j.values for j in found}, truth, shared)
            row |= _lead(judged, found, truth, shared, own)
        rows_out.append(row)
    return rows_out


def _lead(
    judged: Judged,
    found: Sequence[Judged],
    truth: Values,
    pairs: Pairs,
    draws: Mapping[str, Values],
) -> dict[str, Any]:
    """Return the lead over the best score that needs no training, on the pairs that it has."""
    taus = {
        j.name: pair_tau(j.values, truth, pairs)
        for j in found
        if j.group in ("count", "zero-cost", "published")
    }
    rival = max(taus, key=lambda name: np.nan_to_num(taus[name], nan=-1))
    own = draws[judged.name]
    return {
        "rival": rival,
        "lead": round(pair_tau(judged.values, truth, pairs) - taus[rival], 3),
        "lead_interval": interval(own - draws[rival]),
        "lead_over_published_interval": interval(own - draws[PUBLISHED]),
    }


def on_published(scores: Path, top1: Mapping[str, tuple[float, bool]]) -> list[dict[str, Any]]:
    """Return tau of counts and zero-cost scores with the published ImageNet top-1.

    Over all networks, and over those trained without and with distillation apart. Beside it the
    error of the score as an estimate: top-1 by a straight line, left-one-out RMSE in points.

    Args:
        scores: CSV of the zero-cost scores, published networks included.
        top1: published top-1 in % and whether it was with distillation, by name.
    """
    names = sorted(top1)
    columns = {
        name: _count(name, [zoo.load(n) for n in names]).values for name in COUNTS
    } | further_scores(scores, names, "published")
    truth = np.array([top1[name][0] for name in names])
    distilled = np.array([top1[name][1] for name in names], dtype=bool)
    rows = []
    for name, values in columns.items():
        row: dict[str, Any] = {"score": name}
        for key, chosen in (
            ("all", np.ones(len(names), dtype=bool)),
            ("without_distillation", ~distilled),
            ("with_distillation", distilled),
        ):
            tau = kendalltau(values[chosen], truth[chosen], nan_policy="omit")[0]
            row[key] = round(float(tau), 3)
        line = _tamed(values) if np.isfinite(values).all() else values
        row["line_rmse_points"] = _line_error(line, truth, distilled)
        rows.append(row)
    return rows


def planted(
    source: ImagenetEstimate, others: Mapping[str, Callable[[Architecture], Score]]
) -> dict[str, int]:
    """Return how many planted degenerates outrank the best published network of no more MACs."""
    macs = Counted("macs")
    return {
        name: sum(p.margin < 0 for p in degenerates.places(score, lambda a: macs.score(a).score))
        for name, score in {PUBLISHED: source.score, **others}.items()
    }


def _az_nas(columns: Mapping[str, Values], macs: Values) -> Values:
    """Return AZ-NAS's own sum of its three scores and the MACs."""
    parts = [columns[name] for name in ("expressivity", "progressivity", "trainability")]
    return zero_cost.rank_sum([*parts, macs])


def _tamed(scores: Values) -> Values:
    """Return scores of many magnitudes on signed logarithms."""
    out: Values = np.sign(scores) * np.log1p(np.abs(scores))
    return out


def _line_error(values: Values, truth: Values, distilled: Values) -> float | None:
    if not np.isfinite(values).all():
        return None
    x = np.column_stack([np.ones(len(truth)), values, distilled])
    hat = x @ np.linalg.pinv(x)
    residual = (truth - hat @ truth) / (1 - np.diag(hat))
    return round(float(np.sqrt((residual**2).mean())), 2)


def _count(name: str, architectures: Sequence[Architecture]) -> Judged:
    counted = Counted(name)
    values = np.array([counted.score(a).score for a in architectures])
    return Judged(name, "count", values, milliseconds(counted.score, architectures))


def milliseconds(
    score: Callable[[Architecture], object], networks: Sequence[Architecture]
) -> float:
    """Return milliseconds for one network, their operators known."""
    times = []
    for network in networks:
        begun = time.perf_counter()
        score(network)
        times.append(time.perf_counter() - begun)
    return 1e3 * float(np.median(times))


def _spearman(values: Values, truth: Values) -> float:
    return round(float(spearmanr(values, truth, nan_policy="omit")[0]), 3)


def _per_band(found: Sequence[Judged], trained: Trained) -> list[dict[str, Any]]:
    rows = []
    for band in sorted(set(trained.bands[trained.bands >= 0])):
        pairs = same_group(np.where(trained.bands == band, band, -1.0))
        if pairs.sum() < _LEAST_PAIRS:
            continue
        inside = trained.bands == band
        rows.append(
            {
                "band": int(band),
                "mean_ms": round(float(trained.mean_ms[inside].mean()), 3),
                "networks": int(inside.sum()),
                "tau": {j.name: round(pair_tau(j.values, trained.top1, pairs), 3) for j in found},
            }
        )
    return rows


def _places(found: Sequence[Judged], trained: Trained) -> list[dict[str, Any]]:
    """Return the share of networks that each trained degenerate is ahead of, by truth and score."""

    def place(values: Values, i: int) -> float:
        return round(float(np.mean(np.delete(values, i) < values[i])), 3)

    return [
        {
            "digest": trained.digests[i],
            "name": trained.architectures[i].name,
            "top1": round(float(trained.top1[i]), 2),
            "ahead_of": {
                "truth": place(trained.top1, i),
                **{j.name: place(j.values, i) for j in found},
            },
        }
        for i, origin in enumerate(trained.origins)
        if origin == "degenerate"
    ]
