"""How far fitted tables are off networks that they have not seen: nested cross-validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.stats import norm
from scipy.stats import t as student

from effsearch.latency.models.fitted import PRICED
from results.latency.phones.dataset import AXES, Dataset, Form, Reference
from results.latency.phones.model import Array, Posterior, fit

Unit = Literal["network", "family"]

COVERAGE = 0.8
_Z = float(norm.ppf(0.5 + COVERAGE / 2))
_INNER_FOLDS = 6
_TOLERANCE = 1e-8  # in log posterior
_FOLD_TOLERANCE = 1e-2
_CLIP = 0.3  # of a log error, in choosing a form: a few networks off the accelerator decide nothing
_SMALLEST_STD = 0.05  # what one measurement is off by (see `model.Prior.noise`)
_TAIL = 4.0
_MIN_REFERENCES = 10  # of a phone, for a residual spread of its own

# Totals whose price depends on more than their amount: layouts, what spills, small products.
# Networks deviate more where these weigh more.
IRREGULAR = np.array(
    [
        name.partition(".")[0]
        in ("grouped_conv", "matmul", "norm", "copy", "transpose", "spill", "linear_attention")
        for name in PRICED
    ]
)


@dataclass(frozen=True, slots=True)
class Folds:
    """Networks with what was predicted for them without them; n of them.

    Attributes:
        references: what was measured.
        errors: logarithms of predicted over measured, shape (n,).
        variances: of log latencies, that the prices' uncertainty leaves, shape (n,).
        irregularity: sum of squares of the shares of irregular totals, shape (n,).
    """

    references: list[Reference]
    errors: Array
    variances: Array
    irregularity: Array

    def take(self, rows: Sequence[int]) -> Folds:
        """Return some of them."""
        return Folds(
            [self.references[i] for i in rows],
            self.errors[rows],
            self.variances[rows],
            self.irregularity[rows],
        )


@dataclass(frozen=True, slots=True)
class Spread:
    """How far networks lie from the model, in logarithms.

    Attributes:
        residual: of a network on each phone.
        deviation: of an irregular total's price from network to network.
    """

    residual: Mapping[str, float]
    deviation: float

    def std_log(self, device: str, variance: Array, irregularity: Array) -> Array:
        """Return standard deviations of log latencies, shape (n,)."""
        extra = self.deviation**2 * irregularity
        return np.asarray(np.sqrt(self.residual[device] ** 2 + variance + extra))

    def widen(self, posterior: Posterior) -> Array:
        """Return the covariance of log prices with the networks' deviations in it."""
        return posterior.covariance + np.diag(self.deviation**2 * IRREGULAR)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A network left out, and what was predicted for it."""

    reference: Reference
    median_ms: float
    std_log: float
    form: Form

    @property
    def log_error(self) -> float:
        """Logarithm of predicted over measured."""
        return float(np.log(self.median_ms / self.reference.latency_ms))

    @property
    def covered(self) -> bool:
        """Whether the measured latency lies in the 80% interval."""
        return abs(self.log_error) <= _Z * self.std_log


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
        r
        for r in dataset.rows
        if r.resolution <= form.max_resolution
        and not (left_out is not None and left_out(r.network, r.family))
    ]
    tolerance = _TOLERANCE if left_out is None else _FOLD_TOLERANCE
    data, tying = dataset.measurements(rows, form), form.tying()
    data = replace(data, totals=data.totals @ tying)
    fitted = fit(data, form.prior(dataset.group), len(dataset.devices), tolerance)
    return tuple(Posterior(tying @ p.price, tying @ p.covariance @ tying.T) for p in fitted)


def predict(
    dataset: Dataset, posterior: Sequence[Posterior], references: Sequence[Reference], form: Form
) -> tuple[Array, Array, Array]:
    """Return median ms, variance of logarithms that prices leave, and irregularity, (n,) each."""
    graphs = [r.graph for r in references]
    totals = dataset.totals(graphs, form)
    floor = dataset.floor_ms(graphs, [r.device for r in references], form)
    result = np.zeros((3, len(references)))
    for i, reference in enumerate(references):
        prices = posterior[dataset.devices.index(reference.device)]
        row = slice(i, i + 1)
        median = prices.mean_ms(totals[row], floor[row])[0]
        shares = totals[i] * prices.price / median
        variance = prices.variance(totals[row], floor[row])[0]
        result[:, i] = median, variance, np.square(shares[IRREGULAR]).sum()
    return result[0], result[1], result[2]


def cross_validate(
    dataset: Dataset,
    form: Form,
    unit: Unit,
    without: frozenset[str] = frozenset(),
    folds: int | None = None,
) -> Folds:
    """Predict every network from the others, with a form given.

    Args:
        dataset: of the group.
        form: of the model.
        unit: what is left out together.
        without: units that take no part at all.
        folds: number of folds; each unit its own where None.
    """
    units = sorted({getattr(r, unit) for r in dataset.rows} - without)
    count = min(folds or len(units), len(units))
    order = np.random.default_rng(0).permutation(len(units))
    fold_of = {units[j]: i % count for i, j in enumerate(order)}
    references: list[Reference] = []
    columns: list[Array] = []
    for fold in range(count):
        test = [r for r in dataset.references if fold_of.get(getattr(r, unit)) == fold]

        def out(network: str, family: str, fold: int = fold) -> bool:
            name = network if unit == "network" else family
            return name in without or fold_of[name] == fold

        median, variance, irregularity = predict(dataset, fit_group(dataset, form, out), test, form)
        references += test
        errors = np.log(median / np.array([r.latency_ms for r in test]))
        columns.append(np.stack([errors, variance, irregularity]))
    return Folds(references, *np.concatenate(columns, axis=1))


def choose(
    dataset: Dataset, unit: Unit, without: frozenset[str] = frozenset()
) -> tuple[Form, Spread]:
    """Return the form that predicts left-out networks best, and how far they lie from it.

    The search starts at the plainest form and changes one axis at a time while that helps.

    Args:
        dataset: of the group.
        unit: what is left out together inside.
        without: units that take no part at all.
    """
    tried: dict[Form, tuple[float, Folds]] = {}

    def score(form: Form) -> float:
        if form not in tried:
            folds = cross_validate(dataset, form, unit, without, _INNER_FOLDS)
            scope = [i for i, r in enumerate(folds.references) if dataset.in_scope(r)]
            error = float(np.minimum(np.abs(folds.errors[scope]), _CLIP).mean())
            tried[form] = error, folds
        return tried[form][0]

    best = Form(**{axis: values[0] for axis, values in AXES.items()})  # type: ignore[arg-type]
    before = np.inf
    while score(best) < before:
        before = score(best)
        for axis, values in AXES.items():
            others = [replace(best, **{axis: value}) for value in values]  # type: ignore[arg-type]
            best = min(others, key=score)
    return best, spread(dataset, tried[best][1])


def spread(dataset: Dataset, folds: Folds) -> Spread:
    """Return how far left-out networks lie from what was predicted for them.

    One deviation of irregular totals is estimated on all of them; then each phone's residual
    spread is what makes 80% intervals cover 80% of its networks at usual resolutions. Phones with
    few of these take that of all in scope.
    """
    deviation = _deviation(folds)
    usual = [i for i, r in enumerate(folds.references) if dataset.in_scope(r)]
    pooled = residual_std(folds.take(usual), deviation)
    limit = max(r.resolution for r in folds.take(usual).references)
    residual = {}
    for device in dataset.devices:
        own = [
            i
            for i, r in enumerate(folds.references)
            if r.device == device and r.resolution <= limit
        ]
        enough = len(own) >= _MIN_REFERENCES
        residual[device] = residual_std(folds.take(own), deviation) if enough else pooled
    return Spread(residual, deviation)


def residual_std(folds: Folds, deviation: float) -> float:
    """Return the residual spread that makes 80% intervals cover 80%."""
    variances = folds.variances + deviation**2 * folds.irregularity

    def excess(std: float) -> float:
        sizes = np.abs(folds.errors) / np.sqrt(std**2 + variances)
        return float(np.quantile(sizes, COVERAGE)) - _Z

    if excess(_SMALLEST_STD) <= 0:
        return _SMALLEST_STD
    return float(brentq(excess, _SMALLEST_STD, 10.0))


def _deviation(folds: Folds) -> float:
    """Return the likeliest deviation of irregular totals, with Student's t around the model."""

    def loss(logs: Array) -> float:
        residual, deviation = np.exp(logs)
        variance = residual**2 + folds.variances + deviation**2 * folds.irregularity
        return -float(student.logpdf(folds.errors, _TAIL, scale=np.sqrt(variance)).sum())

    found = minimize(loss, np.log([0.08, 0.3]), method="Nelder-Mead")
    return float(np.exp(found.x[1]))


def nested(dataset: Dataset, unit: Unit, workers: int = 2) -> list[HeldOut]:
    """Leave each unit out of the fit and of every choice; return what is predicted for it."""
    units = sorted({getattr(r, unit) for r in dataset.rows})
    with ProcessPoolExecutor(workers) as pool:
        parts = pool.map(_nested_one, [dataset] * len(units), [unit] * len(units), units)
        return [held_out for part in parts for held_out in part]


def _nested_one(dataset: Dataset, unit: Unit, name: str) -> list[HeldOut]:
    form, around = choose(dataset, unit, frozenset({name}))
    posterior = fit_group(
        dataset, form, lambda network, family: (network if unit == "network" else family) == name
    )
    test = [r for r in dataset.references if getattr(r, unit) == name]
    median, variance, irregularity = predict(dataset, posterior, test, form)
    return [
        HeldOut(
            r,
            float(median[i]),
            float(around.std_log(r.device, variance[i], irregularity[i])),
            form,
        )
        for i, r in enumerate(test)
    ]
