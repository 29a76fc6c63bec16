"""How far fitted tables are off networks that they have not seen: nested cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from effsearch.latency.fitting.dataset import FORMS, Dataset, Form, Reference
from effsearch.latency.fitting.model import Array, Posterior, fit

Unit = Literal["network", "family"]

COVERAGE = 0.8
_Z = float(norm.ppf(0.5 + COVERAGE / 2))
_INNER_FOLDS = 6
_TOLERANCE = 1e-8  # in log posterior
_FOLD_TOLERANCE = 1e-2
_CLIP = 0.3  # of a log error, in choosing a form: a few networks off the accelerator decide nothing
_SMALLEST_STD = 0.02


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A network left out, and what was predicted for it."""

    reference: Reference
    mean_ms: float
    std_log: float
    form: Form

    @property
    def log_error(self) -> float:
        """Logarithm of predicted over measured."""
        return float(np.log(self.mean_ms / self.reference.latency_ms))

    @property
    def covered(self) -> bool:
        """Whether the measured latency lies in the 80% interval."""
        return abs(self.log_error) <= _Z * self.std_log


def in_scope(reference: Reference) -> bool:
    """Whether a reference is one that forms are chosen on: iPhone 12 or 13, 288 px or less."""
    return reference.device in ("iPhone 12", "iPhone 13") and reference.resolution <= 288


def fit_group(
    dataset: Dataset, form: Form, left_out: Callable[[str, str], bool] | None = None
) -> tuple[Posterior, ...]:
    """Fit all phones of a group.

    Args:
        dataset: of the group.
        form: of the model.
        left_out: of (network, family), whether its rows are left out.
    """
    rows = [
        r for r in dataset.rows
        if r.resolution <= form.max_resolution
        and not (left_out is not None and left_out(r.network, r.family))
    ]
    tolerance = _TOLERANCE if left_out is None else _FOLD_TOLERANCE
    data = dataset.measurements(rows, form)
    return fit(data, form.prior(), len(dataset.devices), tolerance)


def predict(
    dataset: Dataset, posterior: Sequence[Posterior], references: Sequence[Reference], form: Form
) -> tuple[Array, Array]:
    """Return latencies in ms, and the variance of their logarithms that prices leave."""
    graphs = [r.graph for r in references]
    totals = dataset.totals(graphs, form)
    floor = dataset.floor_ms(graphs, [r.device for r in references], form)
    mean, variance = np.zeros(len(references)), np.zeros(len(references))
    for i, reference in enumerate(references):
        prices = posterior[dataset.devices.index(reference.device)]
        row = slice(i, i + 1)
        mean[i] = prices.mean_ms(totals[row], floor[row])[0]
        variance[i] = prices.variance(totals[row], floor[row])[0]
    return mean, variance


def cross_validate(
    dataset: Dataset, form: Form, unit: Unit, without: frozenset[str] = frozenset(),
    folds: int | None = None,
) -> tuple[list[Reference], Array, Array]:
    """Predict every network from the others, with a form given.

    Args:
        dataset: of the group.
        form: of the model.
        unit: what is left out together.
        without: units that take no part at all.
        folds: number of folds; each unit its own where None.

    Returns:
        References, log errors and variances of log latencies that prices leave.
    """
    units = sorted({getattr(r, unit) for r in dataset.rows} - without)
    order = np.random.default_rng(0).permutation(len(units))
    fold_of = {units[j]: i % (folds or len(units)) for i, j in enumerate(order)}
    references: list[Reference] = []
    errors: list[Array] = []
    variances: list[Array] = []
    for fold in range(folds or len(units)):
        test = [r for r in dataset.references if fold_of.get(getattr(r, unit)) == fold]

        def out(network: str, family: str, fold: int = fold) -> bool:
            name = network if unit == "network" else family
            return name in without or fold_of[name] == fold

        posterior = fit_group(dataset, form, out)
        mean, variance = predict(dataset, posterior, test, form)
        references += test
        errors.append(np.log(mean / np.array([r.latency_ms for r in test])))
        variances.append(variance)
    return references, np.concatenate(errors), np.concatenate(variances)


def choose(
    dataset: Dataset, unit: Unit, without: frozenset[str] = frozenset(),
    forms: Sequence[Form] = FORMS,
) -> tuple[Form, float]:
    """Return the form that predicts left-out networks best, and its residual spread.

    Args:
        dataset: of the group.
        unit: what is left out together inside.
        without: units that take no part at all.
        forms: to choose from.
    """
    best: tuple[float, Form, float] | None = None
    for form in forms:
        references, errors, variances = cross_validate(dataset, form, unit, without, _INNER_FOLDS)
        scope = np.array([in_scope(r) for r in references])
        score = float(np.minimum(np.abs(errors[scope]), _CLIP).mean())
        if best is None or score < best[0]:
            best = score, form, residual_std(errors[scope], variances[scope])
    assert best is not None
    return best[1], best[2]


def residual_std(errors: Array, variances: Array) -> float:
    """Return the spread that, with the prices' variances, makes 80% intervals cover 80%.

    Args:
        errors: of log latencies of left-out networks, shape (n,).
        variances: that the prices' uncertainty leaves for each, shape (n,).
    """

    def excess(std: float) -> float:
        return float(np.quantile(np.abs(errors) / np.sqrt(std**2 + variances), COVERAGE)) - _Z

    if excess(_SMALLEST_STD) <= 0:
        return _SMALLEST_STD
    return float(brentq(excess, _SMALLEST_STD, 10.0))


def nested(dataset: Dataset, unit: Unit, workers: int = 2) -> list[HeldOut]:
    """Leave each unit out of the fit and of every choice; return what is predicted for it."""
    units = sorted({getattr(r, unit) for r in dataset.rows})
    with ProcessPoolExecutor(workers) as pool:
        parts = pool.map(_nested_one, [dataset] * len(units), [unit] * len(units), units)
        return [held_out for part in parts for held_out in part]


def _nested_one(dataset: Dataset, unit: Unit, name: str) -> list[HeldOut]:
    form, std = choose(dataset, unit, frozenset({name}))
    posterior = fit_group(
        dataset, form, lambda network, family: (network if unit == "network" else family) == name
    )
    test = [r for r in dataset.references if getattr(r, unit) == name]
    mean, variance = predict(dataset, posterior, test, form)
    return [
        HeldOut(r, float(m), float(np.sqrt(std**2 + v)), form)
        for r, m, v in zip(test, mean, variance, strict=True)
    ]
