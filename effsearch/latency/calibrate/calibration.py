"""`effsearch calibrate`: a table for a device from whole networks' latencies.

The feature set, and how far prices may move from their prior, are chosen by leave-one-out error.
The error that is reported repeats that choice without the network it is of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.files import atomic_write
from effsearch.latency.calibrate.choice import (
    Candidate,
    LeftOut,
    best_fit,
    leave_one_out,
    shrunk_std,
)
from effsearch.latency.calibrate.price_fit import Fit
from effsearch.latency.calibrate.rows import Measurements, Row
from effsearch.latency.catalogue import user_folder
from effsearch.latency.cost_model import Array, MovableModel
from effsearch.latency.models import calibrated
from effsearch.latency.models.feature_sets import (
    ACCELERATOR,
    PROCESSOR,
    TABLE,
    feature_set,
    network_totals,
)
from effsearch.latency.models.price_prior import PricePrior
from effsearch.latency.models.registry import load_model, read_model
from searchspace import UserError

SCALES = (0.1, 0.5, 2.0)  # spread of the speed of a moved table's device around the table's
UNCERTAIN = 0.6  # share of the prior's spread that is left of a price that stays uncertain
_UNITS = {"count": "ms for one", "gmacs": "ms for 10^9 multiply-accumulates",
          "mb": "ms for 10^6 bytes", "ms": "ms for one of the table that it stands on"}  # fmt: skip


def calibrate(
    measured: Measurements,
    device: str,
    guide: str | None = None,
    feature_sets: Sequence[str] = (PROCESSOR, ACCELERATOR),
) -> dict[str, Any]:
    """Return the card of a table fitted to measured networks.

    Args:
        measured: rows of a kit or of one's own.
        device: name of the table.
        guide: a table whose milliseconds by kind of operator join the feature sets to choose
            among.
        feature_sets: those to choose among.

    Raises:
        UserError: where there is no such table or feature set.
    """
    names = [*feature_sets, *([f"{TABLE}{guide}"] if guide is not None else [])]
    latency_ms = np.array([row.latency_ms for row in measured.rows])
    candidates = [candidate(name, measured.rows) for name in names]
    left_out = leave_one_out(candidates, latency_ms)
    chosen, found = best_fit(candidates, latency_ms)
    card = _facts(measured, device)
    card["note"] = (
        f"Calibrated from {len(latency_ms)} networks measured whole; no operator was measured."
    )
    return card | {
        "totals": chosen.name,
        "reference_count": len(latency_ms),
        "held_out": _held_out(left_out),
        "residual_std": round(shrunk_std(left_out.error, left_out.variance), 4),
        "blocks": {"measured": sorted(_blocks(measured.rows))},
        "prices": _prices(chosen, found),
        "covariance": _lower(found.covariance),
        "references": _references(measured.rows),
    }


def candidate(name: str, rows: Sequence[Row]) -> Candidate:
    """Return networks' totals in the feature set of a name, with its prior.

    Raises:
        UserError: where there is no such feature set.
    """
    chosen = feature_set(name, load_model)
    return Candidate(name, network_totals(chosen, [r.operators for r in rows]), (chosen.prior,))


def can_move(base: str) -> bool:
    """Return whether a table's prices can be moved to another device's measured networks.

    Raises:
        UserError: where there is no such table.
    """
    return isinstance(load_model(base), MovableModel)


def move(measured: Measurements, base: str, device: str) -> dict[str, Any]:
    """Return a table's card with its prices moved as far as measured networks demand.

    The prior is the table's prices with their covariance, and a speed that all share.

    Args:
        measured: rows of a kit or of one's own.
        base: name or file of the table whose prices are moved.
        device: name of the new table.

    Raises:
        UserError: where there is no such table, or its kind has no prices to move.
    """
    model = load_model(base)
    if not isinstance(model, MovableModel):
        raise UserError(
            f"--base: {base} is {model.kind}, and only a fitted table's prices can be moved; "
            f"give it as --guide {base} instead"
        )
    rows = measured.rows
    latency_ms = np.array([row.latency_ms for row in rows])
    totals = model.priced_totals([row.operators for row in rows])
    priors = tuple(PricePrior(model.price, model.covariance + scale**2) for scale in SCALES)
    moved = Candidate("refined", totals, priors)
    left_out = leave_one_out([moved], latency_ms)
    _, found = best_fit([moved], latency_ms)
    card = model.moved_card([o for row in rows for o in row.operators], _blocks(rows))
    card |= {k: v for k, v in _facts(measured, device).items() if k in ("name", "device", "date")}
    card |= {k: measured.header[k] for k in ("os", "compute_unit", "precision")
             if k in measured.header}  # fmt: skip
    before = {entry["total"]: entry for entry in model.card["prices"]}
    counts = {name: int(before[name].get("networks", 0)) for name in totals.names}
    return card | {
        "note": f"{base} moved to {len(rows)} networks measured whole on this device.",
        "refined_from": {
            "name": base,
            "device": model.card["device"],
            "reference_count": model.card.get("reference_count"),
            "held_out": model.card.get("held_out"),
        },
        "reference_count": len(rows),
        "held_out": _held_out(left_out),
        "residual_std": round(shrunk_std(left_out.error, left_out.variance), 4),
        "prices": _prices(moved, found, counts),
        "covariance": _lower(found.covariance),
        "references": _references(rows),
    }


def _blocks(rows: Sequence[Row]) -> set[str]:
    return {block for row in rows for block in row.blocks}


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


def _facts(measured: Measurements, device: str) -> dict[str, Any]:
    header = measured.header
    stated = {k: header.get(k, "not stated") for k in ("os", "runtime", "compute_unit")}
    return {
        "format": calibrated.FORMAT,
        "model": "calibrated",
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
    chosen: Candidate, found: Fit, before: Mapping[str, int] | None = None
) -> list[dict[str, Any]]:
    counts = (chosen.networks.totals > 0).sum(axis=0)
    std = np.sqrt(np.diag(found.covariance))
    # The device's speed is free a priori, so what is compared are spreads around it.
    prior = np.sqrt(np.diag(_around_speed(chosen.priors[len(chosen.priors) // 2].covariance)))
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
        for i, name in enumerate(chosen.networks.names)
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
