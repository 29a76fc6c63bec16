"""What the fitted tables have to beat: least squares on plain operator totals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls
from scipy.stats import spearmanr

from results.latency.phones.dataset import Dataset, Reference
from results.latency.phones.model import Array
from searchspace.operators import KINDS, Operator


def plain_totals(operators: Sequence[Operator]) -> Array:
    """Return a one, then MACs, MB and count of each kind."""
    totals = np.zeros(1 + 3 * len(KINDS))
    totals[0] = 1.0
    for o in operators:
        at = 1 + 3 * KINDS.index(o.kind)
        totals[at : at + 3] += (
            o.macs / 1e9,
            (o.input_bytes + o.weight_bytes + o.output_bytes) / 2e6,
            1.0,
        )
    return totals


def evaluate(dataset: Dataset, unit: str, relative: bool) -> dict[str, float]:
    """Leave each unit out of a non-negative least-squares fit to iPhone 12 and 13 together.

    Args:
        dataset: of the group.
        unit: `network` or `family`.
        relative: minimise relative errors instead of absolute ones.
    """
    references = [r for r in dataset.references if dataset.in_scope(r)]
    predicted = {}
    for name in sorted({getattr(r, unit) for r in references}):
        training = [r for r in references if getattr(r, unit) != name]
        price = _fit(dataset, training, relative)
        for r in references:
            if getattr(r, unit) == name:
                predicted[r] = float(plain_totals(dataset.operators[r.graph]) @ price)
    errors = np.array([abs(predicted[r] / r.latency_ms - 1) for r in references])
    spearman = spearmanr([predicted[r] for r in references], [r.latency_ms for r in references])
    return {
        "median_error_percent": round(100 * float(np.median(errors)), 2),
        "mean_error_percent": round(100 * float(np.mean(errors)), 2),
        "spearman": round(float(spearman.statistic), 4),
    }


def _fit(dataset: Dataset, references: Sequence[Reference], relative: bool) -> Array:
    totals = np.array([plain_totals(dataset.operators[r.graph]) for r in references])
    measured = np.array([r.latency_ms for r in references])
    weight = 1 / measured if relative else np.ones_like(measured)
    scale = totals.max(axis=0) + 1e-12
    price, _ = nnls(totals / scale * weight[:, None], measured * weight)
    return np.asarray(price / scale)
