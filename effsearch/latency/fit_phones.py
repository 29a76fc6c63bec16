"""Fit tables to published phone latencies: `python -m effsearch.latency.fit_phones`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.latency.features import TRAITS
from effsearch.latency.fitted import FORMAT, PRICED
from effsearch.latency.fitting import baseline, report
from effsearch.latency.fitting.dataset import Dataset, Form
from effsearch.latency.fitting.evaluation import (
    HeldOut,
    choose,
    cross_validate,
    fit_group,
    in_scope,
    nested,
)
from effsearch.latency.fitting.model import Posterior
from effsearch.latency.fitting.phones import block_types, rules
from searchspace.errors import UserError

GROUP = "neural_engine"
_MIN_NETWORKS = 10  # a phone with fewer measured networks gets no table
_MAX_RESOLUTION = 288  # of the networks whose held-out error a table states
_UNITS = {
    "count": "ms for one", "gmacs": "ms for 10^9 multiply-accumulates", "mb": "ms for 10^6 bytes",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="folder that holds phones/latency.csv")
    parser.add_argument("--out", required=True, help="folder for the tables")
    parser.add_argument("--evaluate", help="folder for phones.json and phones.md")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        run(options.data, options.out, options.evaluate, options.workers, given)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(data: str, out: str, evaluate: str | None, workers: int, given: list[str]) -> None:
    """Evaluate, fit, and write the tables."""
    dataset = Dataset.read(data, GROUP)
    print(f"{len(dataset.rows)} latencies kept, {len(dataset.dropped)} set aside", file=sys.stderr)
    held_out = {unit: nested(dataset, unit, workers) for unit in ("network", "family")}
    form, residual = choose(dataset, "network")
    posterior = fit_group(dataset, form)
    transferred = transferred_std(dataset, form)
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    for device, prices in zip(dataset.devices, posterior, strict=True):
        card = table_card(dataset, device, prices, form, residual, transferred, held_out)
        if card["reference_count"] >= _MIN_NETWORKS:
            (folder / f"{card['name']}.json").write_text(dump(card), encoding="utf-8")
            print(f"wrote {folder / card['name']}.json", file=sys.stderr)
    if evaluate:
        target = Path(evaluate)
        target.mkdir(parents=True, exist_ok=True)
        shown = [a if a != data else "$EFFSEARCH_DATA" for a in given]
        command = "python -m effsearch.latency.fit_phones " + " ".join(
            a if a.startswith("$") else shlex.quote(a) for a in shown
        )
        card = evaluation_card(dataset, held_out, command)
        (target / "phones.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
        (target / "phones.md").write_text(report.page(card), encoding="utf-8")


def transferred_std(dataset: Dataset, form: Form) -> float:
    """Return how far networks' errors differ between two phones, as a spread of logarithms.

    A price carried over from another phone misses what the two phones do differently.
    """
    references, errors, _ = cross_validate(dataset, form, "network", folds=8)
    by_graph: dict[str, list[float]] = {}
    for reference, error in zip(references, errors, strict=True):
        by_graph.setdefault(reference.graph, []).append(float(error))
    spreads = [np.var(e, ddof=1) for e in by_graph.values() if len(e) > 1]
    return float(np.sqrt(2 * np.mean(spreads)))


def table_card(
    dataset: Dataset, device: str, prices: Posterior, form: Form, residual: float,
    transferred: float, held_out: dict[str, list[HeldOut]],
) -> dict[str, Any]:
    """Return what a table's file holds."""
    group = rules()["groups"][dataset.group]
    rows = [r for r in dataset.rows if r.device == device]
    networks = sorted({r.graph for r in rows})
    blocks = sorted({b for r in rows for b in block_types(r.network)})
    related = sorted({b for r in dataset.rows for b in block_types(r.network)} - set(blocks))
    everywhere = sorted({r.graph for r in dataset.rows})
    here = dataset.totals(networks, form)
    shared = dataset.totals(everywhere, form)
    traits = {name for name, block in rules()["traits"].items() if block in blocks}
    std = np.sqrt(np.diag(prices.covariance))
    errors = {
        unit: report.summarise(
            [
                h for h in found
                if h.reference.device == device and h.reference.resolution <= _MAX_RESOLUTION
            ]
        )
        for unit, found in held_out.items()
    }
    systems = Counter(r.os for r in rows if r.os)
    return {
        "format": FORMAT,
        "name": group["phones"][device]["table"],
        "device": device,
        "chip": group["phones"][device]["chip"],
        "os": "; ".join(f"{name}: {n} rows" for name, n in systems.most_common())
        + f"; not stated: {sum(not r.os for r in rows)} rows",
        "runtime": group["runtime"],
        "compute_unit": group["compute_unit"],
        "precision": group["precision"],
        "date": group["date"],
        "kind": "fitted",
        "note": "Inferred from published latencies of whole networks; no operator was measured.",
        "reference_count": len(networks),
        "shared_reference_count": len(everywhere),
        "latencies": len(rows),
        "held_out": {
            "scope": f"networks at {_MAX_RESOLUTION} px or less",
            "unit": "percent but for spearman; [estimate, low, high], 90% bootstrap intervals",
            "leave_network_out": errors["network"],
            "leave_family_out": errors["family"],
        },
        "hardware": asdict(dataset.hardware(device, form)),
        "form": asdict(form),
        "residual_std": round(residual, 4),
        "transferred_std": round(transferred, 4),
        "blocks": {"measured": blocks, "transferred": related},
        "traits": {
            "measured": [t for t in TRAITS if t in traits],
            "transferred": [t for t in TRAITS if t not in traits],
        },
        "prices": [
            {
                "total": name,
                "unit": _UNITS[name.split(".")[1]],
                "ms": float(f"{prices.price[i]:.5g}"),
                "std_log": round(float(std[i]), 4),
                "networks": int((here[:, i] > 0).sum()),
                "shared_networks": int((shared[:, i] > 0).sum()),
                "kind": "fitted" if (here[:, i] > 0).any() else "transferred",
            }
            for i, name in enumerate(PRICED)
        ],
        "covariance": [
            [float(f"{x:.4g}") for x in prices.covariance[i, : i + 1]] for i in range(len(PRICED))
        ],
        "sources": sorted({r.source for r in rows}),
        "networks": networks,
    }


def evaluation_card(
    dataset: Dataset, held_out: dict[str, list[HeldOut]], command: str
) -> dict[str, Any]:
    """Return what the evaluation found."""
    dropped: dict[tuple[str, str], int] = Counter((d.rule, d.reason) for d in dataset.dropped)
    card: dict[str, Any] = {
        "command": command,
        "scope": {
            f"one {unit}": report.summarise([h for h in found if in_scope(h.reference)])
            for unit, found in held_out.items()
        },
        "baselines": {
            name: {
                f"one {unit}": baseline.evaluate(dataset, unit, relative)
                for unit in ("network", "family")
            }
            for name, relative in (
                ("non-negative least squares on operator totals", False),
                ("the same on relative errors", True),
            )
        },
        "forms": dict(Counter(str(h.form) for h in held_out["network"]).most_common()),
        "dropped": [
            {"rule": rule, "reason": reason, "rows": n} for (rule, reason), n in dropped.items()
        ],
    }
    for unit, found in held_out.items():
        scope = [h for h in found if in_scope(h.reference)]
        card[f"leave_{unit}_out"] = {
            "by_device": report.by(found, lambda h: h.reference.device),
            "by_family": report.by(scope, lambda h: h.reference.family),
            "predictions": [
                {
                    "network": h.reference.graph,
                    "device": h.reference.device,
                    "measured_ms": h.reference.latency_ms,
                    "predicted_ms": round(h.mean_ms, 4),
                    "std_log": round(h.std_log, 4),
                    "covered": h.covered,
                }
                for h in found
            ],
        }
    return card


def dump(card: dict[str, Any]) -> str:
    """Return JSON with one line for each innermost list or object."""
    lines = []
    for key, value in card.items():
        if isinstance(value, list) and value and isinstance(value[0], list | dict):
            inner = ",\n".join("  " + json.dumps(v) for v in value)
            lines.append(f' "{key}": [\n{inner}\n ]')
        elif isinstance(value, dict):
            inner = ",\n".join(f'  "{k}": {json.dumps(v)}' for k, v in value.items())
            lines.append(f' "{key}": {{\n{inner}\n }}')
        else:
            lines.append(f' "{key}": {json.dumps(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    raise SystemExit(main())
