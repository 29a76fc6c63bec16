"""What hundreds of published networks say of size: slopes of log error, from timm's results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from effsearch.accuracy.features import Array

MAX_GMACS = 6.0  # larger networks saturate: their slopes are half as steep
MIN_NETWORKS = 3  # of one family and recipe, to tell a slope
# Trained or initialised on more than ImageNet-1k, or with a teacher.
_OTHER_DATA = r"mae|clip|swag|openai|dino|ft_in1k|in21k|in22k|in12k|miil"
_COLUMNS = {"gmacs": "infer_gmacs", "mparams": "param_count", "mactivations": "infer_macts"}


def load(path: str | Path) -> pd.DataFrame:
    """Read `published/imagenet_timm.csv`."""
    return pd.read_csv(path)


def slopes(table: pd.DataFrame, seed: int = 0) -> dict[str, dict[str, float]]:
    """Return slopes of log error over log size within families of one recipe.

    Args:
        table: timm's results.
        seed: of the bootstrap over families.

    Returns:
        For GMACs, Mparams and Mactivations together: mean, and as std twice the standard error
        over families, since another family may differ from their mean.
    """
    rows = _families(table)
    groups = [group for _, group in rows.groupby("group")]
    fitted = _within(groups)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(400):
        chosen = rng.integers(len(groups), size=len(groups))
        draws.append(_within([groups[i] for i in chosen]))
    spread = 2 * np.std(draws, axis=0)
    return {
        name: {"mean": round(float(m), 4), "std": round(float(s), 4)}
        for name, m, s in zip(_COLUMNS, fitted, spread, strict=True)
    }


def counts(table: pd.DataFrame) -> dict[str, int]:
    """Return how many networks and families `slopes` rests on."""
    rows = _families(table)
    return {"networks": len(rows), "families": int(rows["group"].nunique())}


def distillation(table: pd.DataFrame) -> dict[str, float]:
    """Return mean and std over networks of the change in log error by distillation.

    From pairs of the same architecture and resolution (DeiT, arXiv 2012.12877, and PiT).
    """
    error = table.set_index("model")["top1_err"]
    changes = []
    for model in error.index:
        plain = model.replace("_distilled", "")
        if plain != model and plain in error.index:
            changes.append(float(np.log(error[model] / error[plain])))
    return {
        "mean": round(float(np.mean(changes)), 4),
        "std": round(2 * float(np.std(changes, ddof=1)), 4),
        "pairs": len(changes),
    }


def transfer(table: pd.DataFrame, terms: dict[str, float]) -> dict[str, float]:
    """Return how far timm's networks lie from a line in log size.

    Args:
        table: timm's results.
        terms: `intercept` and the slopes of GMACs, Mparams and Mactivations.

    Returns:
        Over the networks that `slopes` rests on: their number; median, and 10th and 90th
        percentile of published minus expected top-1 in points; standard deviation over families
        and recipes of their mean difference in log error.
    """
    rows = _families(table)
    expected = np.full(len(rows), terms["intercept"])
    for name, column in _COLUMNS.items():
        expected += terms[name] * np.log(rows[column].to_numpy(dtype=float))
    error = rows["top1_err"].to_numpy(dtype=float)
    points = np.exp(expected) - error
    levels = (np.log(error) - expected).tolist()
    means = pd.Series(levels, index=rows["group"].to_numpy()).groupby(level=0).mean()
    low, middle, high = np.percentile(points, [10, 50, 90])
    return {
        "networks": len(rows),
        "median": round(float(middle), 2),
        "percentile_10": round(float(low), 2),
        "percentile_90": round(float(high), 2),
        "family_std": round(float(means.std()), 3),
    }


def _families(table: pd.DataFrame) -> pd.DataFrame:
    tag = table["tag"].fillna("").astype(str)
    keep = tag.str.contains("in1k") & ~tag.str.contains(_OTHER_DATA)
    keep &= (table["infer_gmacs"] < MAX_GMACS) & ~table["model"].str.contains("distilled")
    rows = table[keep].copy()
    prefix = rows["model"].str.extract(r"^([a-z]+(?:v\d)?)")[0]
    rows["group"] = prefix + "|" + tag[keep]
    size = rows.groupby("group")["model"].transform("size")
    return rows[size >= MIN_NETWORKS]


def _within(groups: Sequence[pd.DataFrame]) -> Array:
    """Return least-squares slopes after taking each group's means away."""
    inputs, targets = [], []
    for group in groups:
        x = np.log(group[list(_COLUMNS.values())].to_numpy(dtype=float))
        y = np.log(group["top1_err"].to_numpy(dtype=float))
        inputs.append(x - x.mean(0))
        targets.append(y - y.mean())
    x, y = np.concatenate(inputs), np.concatenate(targets)
    solution: Array = np.linalg.lstsq(x, y, rcond=None)[0]
    return solution
