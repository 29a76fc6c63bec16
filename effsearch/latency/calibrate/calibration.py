"""`effsearch calibrate`: a table for a device from whole networks' latencies.

What operators are charged for, and how far prices may move from the prior for the noise there is,
are chosen by leave-one-out; for the error that is reported, the choice is repeated without the row.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from effsearch.files import atomic_write
from effsearch.latency.calibrate.price_fit import Fit, fit, residual_std
from effsearch.latency.calibrate.price_prior import PricePrior
from effsearch.latency.calibrate.rows import Measurements, Row
from effsearch.latency.catalogue import read_model, table_paths, user_folder
from effsearch.latency.cost_model import Array
from effsearch.latency.models import calibrated
from effsearch.latency.models.accelerator_features import trait
from effsearch.latency.models.calibrated import CalibratedTable
from effsearch.latency.models.feature_sets import ACCELERATOR, BASE, PROCESSOR, form
from effsearch.latency.models.fitted import PRICED, FittedTable
from effsearch.latency.table import Z80
from searchspace import UserError

# Only the ratio of the noise to the prior's spread matters to prices. Finer choices cost more by
# chance than they gain, with 30 networks or fewer.
NOISES = (0.03, 0.08)
SCALES = (0.1, 0.5, 2.0)  # spread of the speed of a refined table's device around the table's
UNCERTAIN = 0.6  # share of the prior's spread that is left of a price that stays uncertain
# A residual spread seen in few networks is little known; it counts as if these had been seen too.
_USUAL_STD, _USUAL_COUNT = 0.07, 5
_RESAMPLES = 2000
_UNITS = {"count": "ms for one", "gmacs": "ms for 10^9 multiply-accumulates",
          "mb": "ms for 10^6 bytes", "ms": "ms for one of the table that it stands on"}  # fmt: skip


@dataclass(frozen=True)
class Charged:
    """Networks' totals in one form.

    Attributes:
        name: of the form.
        names: of the totals.
        totals: (n, J); the first column is 1, the run.
        floor_ms: what the hardware needs at least, (n,).
        priors: candidates.
        noises: candidates, spreads of log latencies.
        reported: whose spreads the posterior's are compared with; no shared speed.
    """

    name: str
    names: tuple[str, ...]
    totals: Array = field(repr=False)
    floor_ms: Array = field(repr=False)
    priors: tuple[PricePrior, ...] = field(repr=False)
    noises: tuple[float, ...] = NOISES

    def without(self, row: int) -> Charged:
        """Return the same without one network."""
        return replace(
            self,
            totals=np.delete(self.totals, row, axis=0),
            floor_ms=np.delete(self.floor_ms, row),
        )

    def candidates(self, latency_ms: Array) -> list[tuple[float, Fit]]:
        """Return every candidate's fit with its leave-one-out error, mean |log|."""
        found = []
        for prior in self.priors:
            for noise in self.noises:
                result = fit(self.totals, self.floor_ms, latency_ms, prior, noise)
                found.append((float(np.mean(np.abs(result.left_out))), result))
        return found


@dataclass(frozen=True)
class LeftOut:
    """Predictions of rows that neither fit nor choice of form have seen.

    Attributes:
        error: log of measured over predicted, (n,).
        variance: that the prices leave, (n,).
        spread: residual standard deviation of the fit without the row, (n,).
        latency_ms: measured, (n,).
    """

    error: Array
    variance: Array
    spread: Array
    latency_ms: Array

    def summary(self) -> dict[str, Any]:
        """Return the errors as tables state them: [estimate, low, high], 90 % bootstrap."""
        relative = 100 * np.abs(np.expm1(-self.error))
        predicted = np.log(self.latency_ms) - self.error
        rng = np.random.default_rng(0)
        picks = rng.integers(len(relative), size=(_RESAMPLES, len(relative)))
        inside = np.abs(self.error) <= Z80 * np.sqrt(self.spread**2 + self.variance)
        ranks = [_spearman(predicted[p], self.latency_ms[p]) for p in picks]
        return {
            "networks": len(relative),
            "latencies": len(relative),
            "median_error_percent": _interval(
                float(np.median(relative)), np.median(relative[picks], axis=1)
            ),
            "coverage_percent": _interval(
                100 * float(inside.mean()), 100 * inside[picks].mean(axis=1)
            ),
            "spearman": _interval(_spearman(predicted, self.latency_ms), np.asarray(ranks), 4),
        }


def best_fit(forms: Sequence[Charged], latency_ms: Array) -> tuple[Charged, Fit]:
    """Return form and fit with the lowest leave-one-out error."""
    scored = [(e, charged, f) for charged in forms for e, f in charged.candidates(latency_ms)]
    _, charged, found = min(scored, key=lambda entry: entry[0])
    return charged, found


def leave_one_out(forms: Sequence[Charged], latency_ms: Array) -> LeftOut:
    """Return errors of rows left out, with the choice of form repeated without them."""
    errors, variances, spreads = [], [], []
    for row in range(len(latency_ms)):
        fewer = [charged.without(row) for charged in forms]
        chosen, found = best_fit(fewer, np.delete(latency_ms, row))
        whole = next(c for c in forms if c.name == chosen.name)
        totals, floor = whole.totals[[row]], whole.floor_ms[[row]]
        errors.append(float(np.log(latency_ms[row]) - found.log_ms(totals, floor)[0]))
        variances.append(float(found.variance(totals, floor)[0]))
        spreads.append(_spread(found.left_out, found.left_out_variance))
    return LeftOut(np.array(errors), np.array(variances), np.array(spreads), latency_ms)


def calibrate(
    measured: Measurements, device: str, base: str | None = None, forms: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the card of a table fitted to measured networks.

    Args:
        measured: rows of a kit or of one's own.
        device: name of the table.
        base: a table whose prices by kind of operator may serve as charges.
        forms: those to choose among; all but `base:` ones by default.
    """
    names = [*(forms or (PROCESSOR, ACCELERATOR))]
    if base is not None:
        names.append(f"{BASE}{base}")
    latency_ms = np.array([row.latency_ms for row in measured.rows])
    charged = [charge(name, measured.rows) for name in names]
    left_out = leave_one_out(charged, latency_ms)
    chosen, found = best_fit(charged, latency_ms)
    card = _facts(measured, device)
    card["note"] = (
        f"Calibrated from {len(latency_ms)} networks measured whole; no operator was measured."
    )
    return card | {
        "totals": chosen.name,
        "reference_count": len(latency_ms),
        "held_out": _held_out(left_out),
        "residual_std": round(_spread(left_out.error, left_out.variance), 4),
        "prices": _prices(chosen, found),
        "covariance": _lower(found.covariance),
        "references": _references(measured.rows),
    }


def charge(name: str, rows: Sequence[Row]) -> Charged:
    """Return networks' totals in a form of `charge_forms`, with the priors to choose among."""
    chosen = form(name)
    totals = chosen.of_network(np.stack([chosen.features(row.operators) for row in rows]))
    totals[:, 0] = 1.0
    return Charged(name, chosen.totals, totals, np.zeros(len(rows)), (chosen.prior,))


def refine(measured: Measurements, table: str, device: str) -> dict[str, Any]:
    """Return a fitted table's card with its prices moved as far as measured networks demand.

    The prior is the table's prices with their covariance, and a speed that all share.

    Raises:
        UserError: where there is no such table, or it is not fitted.
    """
    path = table_paths().get(table, Path(table))
    model = read_model(path)
    if not isinstance(model, FittedTable | CalibratedTable):
        raise UserError(
            f"--refine: {table} is {model.kind}, not fitted; give it as --base {table} instead"
        )
    rows = measured.rows
    latency_ms = np.array([row.latency_ms for row in rows])
    charged = _charge_refined(model, rows)
    left_out = leave_one_out([charged], latency_ms)
    chosen, found = best_fit([charged], latency_ms)
    card = copy.deepcopy(dict(model.card)) | {
        k: v for k, v in _facts(measured, device).items() if k in ("name", "device", "date")
    }
    card |= {k: measured.header[k] for k in ("os", "compute_unit", "precision")
             if k in measured.header}  # fmt: skip
    before = {entry["total"]: entry for entry in model.card["prices"]}
    counts = {name: int(before[name].get("networks", 0)) for name in chosen.names}
    card |= {
        "note": f"{table} refined with {len(rows)} networks measured whole on this device.",
        "refined_from": {
            "name": table,
            "device": model.card["device"],
            "reference_count": model.card.get("reference_count"),
            "held_out": model.card.get("held_out"),
        },
        "reference_count": len(rows),
        "held_out": _held_out(left_out),
        "residual_std": round(_spread(left_out.error, left_out.variance), 4),
        "prices": _prices(chosen, found, counts),
        "covariance": _lower(found.covariance),
        "references": _references(rows),
    }
    card.pop("latencies", None)
    if isinstance(model, FittedTable):
        _move_traits(card, rows)
    return card


def install(card: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Write a table where `effsearch devices` finds it, and read it back.

    Raises:
        UserError: where the folder cannot be written.
    """
    folder = folder or user_folder()
    path = folder / f"{card['name']}.json"
    try:
        with atomic_write(path) as file:
            file.write(_dump(card))
            file.flush()
            read_model(Path(file.name))
    except OSError as error:
        raise UserError(f"{path}: cannot write this table: {error.strerror}") from None
    return path


def uncertain(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the prices that the measurements leave about as uncertain as they were."""
    return [
        entry
        for entry in card["prices"]
        if not entry["networks"] or entry["std_log"] > UNCERTAIN * entry["prior_std_log"]
    ]


def _charge_refined(model: FittedTable | CalibratedTable, rows: Sequence[Row]) -> Charged:
    features = np.stack([model.features(row.operators) for row in rows])
    floor = np.zeros(len(rows))
    if isinstance(model, CalibratedTable):
        names = model.form.totals
        features = model.form.of_network(features)
    else:
        names = PRICED
        floor = features[:, 0].copy()
        features = features[:, : len(PRICED)]
    features[:, 0] = 1.0
    priors = tuple(PricePrior(model.price, model.covariance + scale**2) for scale in SCALES)
    return Charged("refined", names, features, floor, priors)


def _spread(errors: Array, variance: Array) -> float:
    n = len(errors)
    squares = n * residual_std(errors, variance) ** 2 + _USUAL_COUNT * _USUAL_STD**2
    return float(np.sqrt(squares / (n + _USUAL_COUNT)))


def _move_traits(card: dict[str, Any], rows: Sequence[Row]) -> None:
    """Operators that were transferred and are in measured networks now are fitted."""
    found = {t for row in rows for o in row.operators if (t := trait(o))}
    traits = card["traits"]
    traits["measured"] = sorted({*traits["measured"], *found})
    for level in ("transferred", "estimated"):
        traits[level] = [t for t in traits.get(level, []) if t not in found]


def _facts(measured: Measurements, device: str) -> dict[str, Any]:
    header = measured.header
    stated = {k: header.get(k, "not stated") for k in ("os", "runtime", "compute_unit")}
    return {
        "format": calibrated.FORMAT,
        "name": device,
        "device": header.get("device", device),
        **stated,
        "precision": header.get("precision", "not stated"),
        "date": header.get("date", datetime.now(UTC).date().isoformat()),
        "kind": "fitted",
    }


def _held_out(left_out: LeftOut) -> dict[str, Any]:
    return {
        "scope": "the measured networks, each left out of fit and choice of form",
        "unit": "percent but for spearman; [estimate, low, high], 90% bootstrap intervals",
        "leave_network_out": left_out.summary(),
    }


def _prices(
    charged: Charged, found: Fit, before: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    counts = (charged.totals > 0).sum(axis=0)
    std = np.sqrt(np.diag(found.covariance))
    # The device's speed is free a priori, so what is compared are spreads around it.
    prior = np.sqrt(np.diag(_around_speed(charged.priors[len(charged.priors) // 2].covariance)))
    return [
        {
            "total": name,
            "unit": _UNITS[name.rsplit(".", 1)[1]],
            "ms": float(f"{found.price[i]:.5g}"),
            "std_log": round(float(std[i]), 4),
            "prior_std_log": round(float(prior[i]), 4),
            "networks": int(counts[i]) + (before or {}).get(name, 0),
            "kind": "fitted" if counts[i] or (before or {}).get(name) else "estimated",
        }
        for i, name in enumerate(charged.names)
    ]


def _around_speed(covariance: Array) -> Array:
    """Return a covariance without the part that all prices share."""
    shared = covariance - np.diag(np.diag(covariance))
    common = shared[np.triu_indices(len(covariance), 1)].min() if len(covariance) > 1 else 0.0
    return np.asarray(covariance - max(0.0, common))


def _references(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [{"target": r.target, "identity": r.identity, "ms": r.latency_ms} for r in rows]


def _lower(covariance: Array) -> list[list[float]]:
    return [
        [float(f"{v:.5g}") for v in row[: i + 1]] for i, row in enumerate(np.asarray(covariance))
    ]


def _dump(card: Mapping[str, Any]) -> str:
    """Return JSON with one price, one reference and one row of the covariance a line."""
    lines = []
    for key, value in card.items():
        if key in ("prices", "covariance", "references"):
            rows = ",\n  ".join(json.dumps(row) for row in value)
            lines.append(f" {json.dumps(key)}: [\n  {rows}\n ]")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _interval(estimate: float, resampled: Array, digits: int = 1) -> list[float]:
    low, high = np.nanquantile(resampled, [0.05, 0.95])
    return [round(float(v), digits) for v in (estimate, low, high)]


def _spearman(a: Array, b: Array) -> float:
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)
