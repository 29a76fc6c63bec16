"""How well the hierarchical model does on what is left out of it: networks, families, groups.

Every figure is nested: the scales are chosen again without what is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from effsearch.accuracy.estimate import Estimate, top1_of
from effsearch.accuracy.features import FAMILIES, Array, family_shares
from results.accuracy.hierarchical import RECIPES, Evidence, Posterior, Rows, choose
from results.accuracy.published_evidence import Row

CLEAR = 0.3  # points of top-1; smaller differences are within the noise of seeds
BOOTSTRAPS = 2000
COUNTS = ("gmacs", "mparams", "layers")
# Published changes that the score has to get right: row before, rows after.
CHANGES = (
    ("EfficientViT-B1, 224 to 256 px", "efficientvit_b1", "EVT002"),
    ("EfficientViT-B1, 224 to 288 px", "efficientvit_b1", "EVT003"),
    ("SHViT-S3, partial ratio 1/4.67 to 1/8", "shvit_s3", "SHV012"),
    ("SHViT-S3 without attention", "shvit_s3", "SHV011"),
)
_Z80 = 1.2816


def networks(evidence: Evidence) -> list[dict[str, Any]]:
    """Return each of the 16 as expected from all rows of other networks."""
    found = []
    for i in seeds(evidence.rows):
        same = [j for j, row in enumerate(evidence.rows) if _same(row, evidence.rows[i])]
        posterior = _without(evidence, same)
        found.append(_expected(evidence.rows[i], *posterior.expect(i)))
    return found


def families(evidence: Evidence) -> list[dict[str, Any]]:
    """Return each of the 16 as expected without its recipe, and without its blocks anywhere."""
    found = []
    for family in FAMILIES:
        left = [i for i, row in enumerate(evidence.rows) if of_family(row, family)]
        posterior = _without(evidence, left)
        found += [
            _expected(evidence.rows[i], *posterior.expect(i)) for i in left if evidence.rows[i].seed
        ]
    return found


def groups(evidence: Evidence) -> list[dict[str, Any]]:
    """Return pairs of rows of one comparable group, with the difference that is expected.

    Twice: without the whole recipe, and without the two rows alone. Rows of which only sizes are
    known don't count: what they differ in is not in the terms.
    """
    rows = evidence.rows
    by_recipe: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if row.via != "sizes":
            by_recipe.setdefault(row.recipe, []).append(i)
    found = []
    for recipe, members in by_recipe.items():
        pairs = [
            (i, j)
            for n, i in enumerate(members)
            for j in members[:n]
            if rows[i].group == rows[j].group and not _same(rows[i], rows[j])
        ]
        if not pairs:
            continue
        unseen = _without(evidence, [i for i, row in enumerate(rows) if row.recipe == recipe])
        known = Posterior(evidence, np.arange(len(rows)), unseen.scales)
        for i, j in pairs:
            strict = [top1_of_log(unseen.expect(k)[0]) for k in (i, j)]
            others = [top1_of_log(v) for v in known.without(np.array([i, j]))]
            found.append(
                {
                    "group": rows[i].group,
                    "pair": [rows[i].id, rows[j].id],
                    "via": sorted({rows[i].via, rows[j].via}),
                    "published": round(rows[i].top1 - rows[j].top1, 3),
                    "without_recipe": round(strict[0] - strict[1], 3),
                    "without_pair": round(others[0] - others[1], 3),
                }
            )
    return found


def changes(evidence: Evidence, posterior: Posterior) -> list[dict[str, Any]]:
    """Return the table of changes, with those rows in the fit and left out of it."""
    at = {row.id: i for i, row in enumerate(evidence.rows)}
    without = _without(evidence, [at[after] for _, _, after in CHANGES])
    found = []
    for what, before, after in CHANGES:
        row = {
            "change": what,
            "published": round(evidence.rows[at[after]].top1 - evidence.rows[at[before]].top1, 2),
        }
        for name, model in (("with_rows", posterior), ("left_out", without)):
            top1 = [top1_of_log(_member(model, evidence.rows[at[k]])) for k in (before, after)]
            row[name] = round(top1[1] - top1[0], 2)
        found.append(row)
    return found


def foreign(
    evidence: Evidence, posterior: Posterior, graphs: Sequence[tuple[Row, Array]]
) -> tuple[list[dict[str, Any]], float]:
    """Return networks as estimated from their graph alone, without their paper, and the spread.

    Args:
        evidence: all rows.
        posterior: of them; its scales are kept.
        graphs: rows whose graph is at hand, with its totals.

    Returns:
        The rows, and the standard deviation of log error that a graph adds to what the model
        says, such that errors are as large as their standard deviations.
    """
    models: dict[tuple[str, str], Estimate] = {}
    gaps, variances = [], []
    for row, totals in graphs:
        key = (row.recipe, row.family)
        if key not in models:
            kept = [
                i
                for i, other in enumerate(evidence.rows)
                if other.recipe != row.recipe
                and not (row.family in FAMILIES and of_family(other, row.family))
            ]
            models[key] = Posterior(evidence, np.array(kept), posterior.scales).product()
            models[key].foreign_std = 0.0
        mean, std = models[key].foreign_log_error(totals[None], bool(row.distilled))
        gaps.append(float(mean[0]) - float(np.log(100 - row.top1)))
        variances.append(float(std[0]) ** 2)
    missing = np.mean(np.square(gaps) - np.array(variances))
    added = float(np.sqrt(max(float(missing), 0.0)))
    found = []
    for (row, _), gap, variance in zip(graphs, gaps, variances, strict=True):
        log_error = float(np.log(100 - row.top1)) + gap
        found.append(_expected(row, log_error, float(np.sqrt(variance + added**2))))
    return found, added


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return errors of estimates, with bootstrap intervals over networks."""
    top1 = np.array([row["top1"] for row in rows])
    estimate = np.array([row["estimate"] for row in rows])
    std = np.array([row["std"] for row in rows])
    z = (estimate - top1) / std
    rng = np.random.default_rng(0)
    picks = [rng.integers(len(rows), size=len(rows)) for _ in range(BOOTSTRAPS)]
    return {
        "networks": len(rows),
        "rmse": round(_rmse(estimate - top1), 3),
        "rmse_interval_95": _interval([_rmse(estimate[k] - top1[k]) for k in picks]),
        "kendall_tau": round(_tau(estimate, top1), 3),
        "kendall_tau_interval_95": _interval([_tau(estimate[k], top1[k]) for k in picks]),
        "worst": round(float(np.abs(estimate - top1).max()), 2),
        "bias": round(float((estimate - top1).mean()), 2),
        "error_over_std": round(_rmse(z), 2),
        "within_80": round(float((np.abs(z) <= _Z80).mean()), 3),
    }


def pair_summary(pairs: Sequence[Mapping[str, Any]], by: str) -> dict[str, Any]:
    """Return how well differences inside groups are told, with bootstrap intervals over groups.

    Args:
        pairs: of `groups`.
        by: the column that tells them.
    """
    names = sorted({pair["group"] for pair in pairs})
    of_group = {name: [pair for pair in pairs if pair["group"] == name] for name in names}
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(BOOTSTRAPS // 4):
        picked = [names[k] for k in rng.integers(len(names), size=len(names))]
        draws.append(_pair_figures([pair for name in picked for pair in of_group[name]], by))
    taus = {name: _group_tau(of_group[name], by) for name in names}
    ranked = {name: tau for name, tau in taus.items() if len(_ids(of_group[name])) > 2}
    sign, error, near = _pair_figures(pairs, by)
    columns_ = np.array(draws).T
    tau_draws = [
        float(np.mean(rng.choice(list(ranked.values()), size=len(ranked))))
        for _ in range(BOOTSTRAPS)
    ]
    return {
        "pairs": len(pairs),
        "clear_pairs": sum(abs(pair["published"]) >= CLEAR for pair in pairs),
        "groups": len(names),
        "sign_right": round(sign, 3),
        "sign_right_interval_95": _interval(columns_[0]),
        "median_error": round(error, 3),
        "median_error_interval_95": _interval(columns_[1]),
        "median_error_within_2_points": round(near, 3),
        "kendall_tau": round(float(np.mean(list(ranked.values()))), 3),
        "kendall_tau_interval_95": _interval(tau_draws),
        "ranked_groups": len(ranked),
    }


def by_group(pairs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the figures of each comparable group."""
    found = []
    for name in sorted({pair["group"] for pair in pairs}):
        mine = [pair for pair in pairs if pair["group"] == name]
        row: dict[str, Any] = {"group": name, "rows": len(_ids(mine)), "pairs": len(mine)}
        for by in ("without_recipe", "without_pair"):
            sign, error, _ = _pair_figures(mine, by)
            tau = _group_tau(mine, by)
            row[by] = [None if np.isnan(v) else round(v, 2) for v in (sign, error, tau)]
        found.append(row)
    return found


def of_family(row: Row, family: str) -> bool:
    """Whether a row is of a family's recipe, or of a member mostly made of its blocks."""
    if row.recipe == RECIPES[family] or row.family == family:
        return True
    share = family_shares(row.totals[None])[0][FAMILIES.index(family)]
    return row.via in ("exact", "nearest") and bool(share > 0.5)


def seeds(rows: Sequence[Row]) -> list[int]:
    """Return where the 16 published networks are."""
    return [i for i, row in enumerate(rows) if row.seed]


def top1_of_log(log_error: float) -> float:
    """Return top-1 in percent."""
    return float(100 - np.exp(log_error))


def _member(posterior: Posterior, row: Row) -> float:
    mean, _ = posterior.product().log_error(row.totals[None])
    return float(mean[0])


def _without(evidence: Evidence, left: Iterable[int]) -> Posterior:
    out = set(left)
    kept: Rows = np.array([i for i in range(len(evidence.rows)) if i not in out])
    return Posterior(evidence, kept, choose(evidence, kept))


def _same(a: Row, b: Row) -> bool:
    return bool(np.allclose(a.totals, b.totals, rtol=1e-6, equal_nan=False))


def _expected(row: Row, mean: float, std: float) -> dict[str, Any]:
    estimate, spread = top1_of(np.array([mean]), np.array([std]))
    return _row(row, float(estimate[0]), float(spread[0]))


def _row(row: Row, estimate: float, std: float) -> dict[str, Any]:
    return {
        "network": row.id,
        "family": row.family,
        "distilled": int(row.distilled),
        "top1": row.top1,
        "estimate": round(estimate, 2),
        "std": round(std, 2),
    }


def _pair_figures(pairs: Sequence[Mapping[str, Any]], by: str) -> tuple[float, float, float]:
    published = np.array([pair["published"] for pair in pairs])
    told = np.array([pair[by] for pair in pairs])
    clear = np.abs(published) >= CLEAR
    near = np.abs(published) <= 2
    errors = np.abs(told - published)
    return (
        float("nan")
        if not clear.any()
        else float((np.sign(told[clear]) == np.sign(published[clear])).mean()),
        float(np.median(errors)),
        float(np.median(errors[near])) if near.any() else float("nan"),
    )


def _group_tau(pairs: Sequence[Mapping[str, Any]], by: str) -> float:
    """Return Kendall's tau-a of a group from its pairs; equal published values don't count."""
    agree = [np.sign(p[by]) * np.sign(p["published"]) for p in pairs if p["published"] != 0]
    return float(np.mean(agree)) if agree else 0.0


def _ids(pairs: Sequence[Mapping[str, Any]]) -> set[str]:
    return {name for pair in pairs for name in pair["pair"]}


def _rmse(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2)))


def _tau(a: Array, b: Array) -> float:
    return float(kendalltau(a, b)[0])


def _interval(values: Sequence[float] | Array) -> list[float]:
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return [round(float(low), 3), round(float(high), 3)]
