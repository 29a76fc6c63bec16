"""What the fit of the default score says of itself: errors of held-out estimates, as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from effsearch.accuracy.features import Array
from effsearch.accuracy.score import Z

BOOTSTRAPS = 2000


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return errors of estimates, with bootstrap intervals over networks."""
    top1 = np.array([row["top1"] for row in rows])
    estimate = np.array([row["estimate"] for row in rows])
    std = np.array([row["std"] for row in rows])
    z = (estimate - top1) / std
    rng = np.random.default_rng(0)
    taus, errors = [], []
    for _ in range(BOOTSTRAPS):
        k = rng.integers(len(rows), size=len(rows))
        taus.append(kendalltau(estimate[k], top1[k])[0])
        errors.append(_rmse(estimate[k] - top1[k]))
    return {
        "networks": len(rows),
        "rmse": round(_rmse(estimate - top1), 3),
        "rmse_interval_95": _interval(errors),
        "kendall_tau": round(float(kendalltau(estimate, top1)[0]), 3),
        "kendall_tau_interval_95": _interval(taus),
        "worst": round(float(np.abs(estimate - top1).max()), 2),
        "error_over_std": round(_rmse(z), 2),
        "within_one_std": int((np.abs(z) <= 1).sum()),
        "above_lower_bound": int((top1 >= estimate - Z * std).sum()),
    }


def markdown(evidence: Mapping[str, Any]) -> str:
    """Return the evidence as a page."""
    lines = [
        "# Estimated ImageNet-1k top-1 of the published networks",
        "",
        f"Made by `{evidence['command']}`. Kind of every estimate: `estimated`.",
        "",
        "Each network is estimated from the others; hyperparameters are chosen again without it.",
        "Estimates are for the recipe that the network was trained with (distilled or not); the",
        "score of a search is for training without distillation.",
        "",
        "| left out | RMSE, points (95%) | Kendall's tau (95%) | worst | RMS of error / std "
        "| within 1 std | above lower bound |",
        "|---|---|---|---|---|---|---|",
    ]
    labels = ("network", "family", "family, no rise expected outside the published shapes")
    for label, row in zip(labels, evidence["held_out"].values(), strict=True):
        low, high = row["rmse_interval_95"]
        tau_low, tau_high = row["kendall_tau_interval_95"]
        lines.append(
            f"| {label} | {row['rmse']:.2f} ({low:.2f} to {high:.2f}) "
            f"| {row['kendall_tau']:.2f} ({tau_low:.2f} to {tau_high:.2f}) | {row['worst']:.2f} "
            f"| {row['error_over_std']:.2f} | {row['within_one_std']} of {row['networks']} "
            f"| {row['above_lower_bound']} of {row['networks']} |"
        )
    counted = ", ".join(f"{name} {tau:.2f}" for name, tau in evidence["baselines"].items())
    lines += [
        "",
        "A network of a family that the estimate has never seen lies outside the published shapes, "
        "where it expects the error to rise: good for a search, too low for a good new family.",
        "",
        f"Counts alone, tau against the same top-1: {counted}.",
        "",
        "| network | distilled | top-1 | without it | without its family |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['network']} | {'yes' if r['distilled'] else 'no'} | {r['top1']:.1f} "
        f"| {r['estimate']:.1f} ± {r['std']:.1f} "
        f"| {r['without_family']:.1f} ± {r['without_family_std']:.1f} |"
        for r in evidence["networks"]
    ]
    lines += [
        "",
        "What each term adds to log error (0.05 is about 1 point at 80%): prior from timm's "
        "networks, and given ours.",
        "",
        "| term | prior | given the 16 |",
        "|---|---|---|",
    ]
    for name, row in evidence["posterior_slopes"].items():
        prior = evidence["prior"]["slopes"].get(name)
        before = f"{prior['mean']:+.3f} ± {prior['std']:.3f}" if prior else ""
        if not prior and name != "intercept":
            before = f"+0.000 ± {evidence['prior']['family_std']:.3f}"
        lines.append(f"| {name} | {before} | {row['mean']:+.3f} ± {row['std']:.3f} |")
    other = evidence["size_terms_on_timm"]
    lines += [
        "",
        f"The intercept and the three size terms alone, on {other['networks']} of timm's networks, "
        "whose level no part of this was fitted to (slopes partly were): published top-1 minus "
        f"expected is {other['median']:+.1f} points in the median, {other['percentile_10']:+.1f} "
        f"to {other['percentile_90']:+.1f} from the 10th to the 90th percentile, older and shorter "
        f"recipes among them; families and recipes differ by {other['family_std']:.2f} (standard "
        "deviation) in log error.",
    ]
    planted = evidence["degenerates"]
    ahead = sum(row["lower_bound"] >= row["rival_lower_bound"] for row in planted)
    lines += [
        "",
        f"Planted degenerates: {ahead} of {len(planted)} outrank the best published network of no "
        "more MACs, by the lower bound (`effsearch/accuracy/data/degenerates.yaml`).",
        "",
        "| degenerate | estimate | lower bound | best published | its lower bound |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['network']} | {r['estimate']:.1f} ± {r['std']:.1f} | {r['lower_bound']:.1f} "
        f"| {r['rival']} | {r['rival_lower_bound']:.1f} |"
        for r in planted
    ]
    return "\n".join(lines) + "\n"


def _rmse(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _interval(values: Sequence[float]) -> list[float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return [round(float(low), 3), round(float(high), 3)]
