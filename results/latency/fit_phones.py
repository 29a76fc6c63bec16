"""Fit tables to published phone latencies: `python -m results.latency.fit_phones`."""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.latency.models.fitted import FORMAT, PRICED
from results.latency.phones import baseline, report
from results.latency.phones.dataset import NO_SPILLING, TIES, Dataset, Form
from results.latency.phones.evaluation import (
    Folds,
    HeldOut,
    Spread,
    choose,
    cross_validate,
    fit_group,
    nested,
)
from results.latency.phones.model import Posterior
from results.latency.phones.published import block_types, rules
from searchspace.errors import UserError

_MIN_NETWORKS = 10  # a phone with fewer measured networks gets no table
_UNITS = {
    "count": "ms for one",
    "gmacs": "ms for 10^9 multiply-accumulates",
    "mb": "ms for 10^6 bytes of float16",
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
    """Evaluate, fit, and write the tables of every group of phones."""
    shown = ["$EFFSEARCH_DATA" if a == data else shlex.quote(a) for a in given]
    evaluation: dict[str, Any] = {
        "command": " ".join(["python -m results.latency.fit_phones", *shown])
    }
    for group in rules()["groups"]:
        dataset = Dataset.read(data, group)
        print(
            f"{group}: {len(dataset.rows)} latencies kept, {len(dataset.dropped)} set aside",
            file=sys.stderr,
        )
        held_out = {str(unit): nested(dataset, unit, workers) for unit in report.UNITS}
        form, spread = choose(dataset, "network")
        write_tables(dataset, form, spread, held_out, Path(out))
        evaluation[group] = evaluation_card(dataset, form, held_out)
    if evaluate:
        target = Path(evaluate)
        target.mkdir(parents=True, exist_ok=True)
        (target / "phones.json").write_text(
            json.dumps(evaluation, indent=1) + "\n", encoding="utf-8"
        )
        (target / "phones.md").write_text(report.page(evaluation), encoding="utf-8")


def write_tables(
    dataset: Dataset, form: Form, spread: Spread, held_out: dict[str, list[HeldOut]], folder: Path
) -> None:
    """Fit a group's phones and write a table for each that has enough networks."""
    transferred = transferred_std(cross_validate(dataset, form, "network", folds=8))
    posterior = fit_group(dataset, form)
    folder.mkdir(parents=True, exist_ok=True)
    for device, prices in zip(dataset.devices, posterior, strict=True):
        card = table_card(dataset, device, prices, form, spread, transferred, held_out)
        if card["reference_count"] >= _MIN_NETWORKS:
            path = folder / f"{card['name']}.json"
            path.write_text(dump(card), encoding="utf-8")
            print(f"wrote {path}", file=sys.stderr)


def transferred_std(folds: Folds) -> float:
    """Return how far networks' errors differ between two phones, as a spread of logarithms.

    A price carried over from another phone misses what the two phones do differently.
    """
    by_graph: dict[str, list[float]] = {}
    for reference, error in zip(folds.references, folds.errors, strict=True):
        by_graph.setdefault(reference.graph, []).append(float(error))
    spreads = [np.var(e, ddof=1) for e in by_graph.values() if len(e) > 1]
    return float(np.sqrt(2 * np.mean(spreads))) if spreads else float(np.std(folds.errors))


def table_card(
    dataset: Dataset,
    device: str,
    prices: Posterior,
    form: Form,
    spread: Spread,
    transferred: float,
    held_out: dict[str, list[HeldOut]],
) -> dict[str, Any]:
    """Return what a table's file holds."""
    group = rules()["groups"][dataset.group]
    limit = group["scope"]["max_resolution"]
    rows = [r for r in dataset.rows if r.device == device]
    networks = sorted({r.graph for r in rows})
    everywhere = sorted({r.graph for r in dataset.rows})
    here, shared = dataset.totals(networks, form) > 0, dataset.totals(everywhere, form) > 0
    blocks = _known({b for r in rows for b in block_types(r.network)}, dataset)
    by_block = rules()["traits"]
    traits = {
        level: [name for name, block in by_block.items() if block in names]
        for level, names in blocks.items()
    }
    covariance = spread.widen(prices)
    errors = {
        unit: report.summarise(
            [h for h in found if h.reference.device == device and h.reference.resolution <= limit]
        )
        for unit, found in held_out.items()
    }
    systems = Counter(r.os or "not stated" for r in rows)
    return {
        "format": FORMAT,
        "model": "fitted",
        "name": group["phones"][device]["table"],
        "device": device,
        "chip": group["phones"][device]["chip"],
        "os": "; ".join(f"{name} ({n} latencies)" for name, n in sorted(systems.items())),
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
            "scope": f"networks at {limit} px or less",
            "unit": "percent but for spearman; [estimate, low, high], 90% bootstrap intervals",
            "leave_network_out": errors["network"],
            "leave_family_out": errors["family"],
        },
        "hardware": asdict(dataset.hardware(device, form)),
        "form": asdict(form),
        "residual_std": round(spread.residual[device], 4),
        "transferred_std": round(transferred, 4),
        "blocks": blocks,
        "traits": traits,
        "prices": [
            {
                "total": name,
                "unit": _UNITS[name.split(".")[1]],
                "ms": float(f"{prices.price[i]:.5g}"),
                "std_log": round(float(np.sqrt(covariance[i, i])), 4),
                "networks": int(here[:, i].sum()),
                "shared_networks": int(shared[:, i].sum()),
                "kind": "fitted"
                if here[:, i].any()
                else "transferred"
                if shared[:, i].any()
                else "estimated",
            }
            for i, name in enumerate(PRICED)
        ],
        "covariance": [
            [float(f"{x:.4g}") for x in covariance[i, : i + 1]] for i in range(len(PRICED))
        ],
        "sources": sorted({r.source for r in rows}),
        "networks": networks,
    }


def _known(measured: set[str], dataset: Dataset) -> dict[str, list[str]]:
    """Return the block types measured on a phone, on related phones only, and on none of them."""
    related = {b for r in dataset.rows for b in block_types(r.network)}
    every = {b for blocks in rules()["blocks"].values() for b in blocks}
    return {
        "measured": sorted(measured),
        "transferred": sorted(related - measured),
        "estimated": sorted(every - related - measured),
    }


def evaluation_card(
    dataset: Dataset, form: Form, held_out: dict[str, list[HeldOut]]
) -> dict[str, Any]:
    """Return what the evaluation of a group found."""
    dropped: dict[tuple[str, str], int] = Counter((d.rule, d.reason) for d in dataset.dropped)
    scope = rules()["groups"][dataset.group]["scope"]
    card: dict[str, Any] = {
        "scope": f"{', '.join(scope['phones'])}; {scope['max_resolution']} px or less",
        "in_scope": {
            f"one {unit}": report.summarise([h for h in found if dataset.in_scope(h.reference)])
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
        "ablations": {
            name: {
                f"one {unit}": report.of_folds(dataset, cross_validate(changed, other, unit))
                for unit in report.UNITS
            }
            for name, changed, other in _ablations(dataset, form)
        },
        "forms": dict(Counter(str(h.form) for h in held_out["network"]).most_common()),
        "dropped": [
            {"rule": rule, "reason": reason, "rows": n} for (rule, reason), n in dropped.items()
        ],
    }
    for unit, found in held_out.items():
        card[f"leave_{unit}_out"] = {
            "by_device": report.by(found, lambda h: h.reference.device),
            "by_family": report.by(
                [h for h in found if dataset.in_scope(h.reference)], lambda h: h.reference.family
            ),
            "predictions": [
                {
                    "network": h.reference.graph,
                    "device": h.reference.device,
                    "measured_ms": round(h.reference.latency_ms, 4),
                    "predicted_ms": round(h.median_ms, 4),
                    "std_log": round(h.std_log, 4),
                    "covered": h.covered,
                }
                for h in found
            ],
        }
    return card


def _ablations(dataset: Dataset, form: Form) -> list[tuple[str, Dataset, Form]]:
    phones = rules()["groups"][dataset.group]["scope"]["phones"]
    alone = Dataset(
        dataset.group,
        [r for r in dataset.rows if r.device in phones],
        dataset.dropped,
        dataset.operators,
    )
    return [
        ("as chosen on all networks", dataset, form),
        ("without spilling", dataset, replace(form, on_chip_mb=NO_SPILLING)),
        *[(f"without own prices for {word}", dataset, replace(form, tied=word)) for word in TIES],
        ("weights at the memory's bandwidth", dataset, replace(form, reuse=1.0)),
        ("with larger inputs", dataset, replace(form, max_resolution=1024)),
        ("without related phones", alone, form),
    ]


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
