"""How well calibrated tables predict networks that were not in the kit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.optimize import nnls
from scipy.stats import spearmanr

from effsearch.latency.calibrate.calibration import calibrate
from effsearch.latency.calibrate.rows import Measurements, Row
from effsearch.latency.cost_model import Array
from effsearch.latency.models.calibrated import CalibratedTable
from effsearch.latency.models.feature_sets import ACCELERATOR, PROCESSOR, TABLE, ProcessorFeatures
from effsearch.latency.models.registry import load_model
from effsearch.latency.table import DeviceTable
from results.bootstrap import interval
from searchspace import Architecture

COUNTS = (10, 30)
TARGETS = {10: 10.0, 30: 6.0}  # median error in percent
TARGET_SPEARMAN = 0.98
_RESAMPLES = 2000
_TITLES = {
    "two_threads": "Two threads, all graph optimisations",
    "unoptimised": "One thread, graph optimisation off",
}
_LINES = {
    "calibrated": "effsearch calibrate",
    "processor": "- CPU totals only",
    "accelerator": "- phone totals only",
    "base": "effsearch calibrate --guide (this CPU's own table)",
    "macs": "baseline: proportional to MACs",
    "nnls": "baseline: non-negative least squares on totals",
}
_RANGES = {
    "within_kit": "no slower than the slowest measured",
    "beyond_kit": "slower than any measured",
}

Networks = Sequence[tuple[Architecture, Row]]


def evaluate(kit: Networks, tests: Networks, base: str | None = None) -> dict[str, Any]:
    """Return errors on the test networks of tables made from the kit's first networks.

    Args:
        kit: in its order.
        tests: never used for any choice.
        base: a table of this very CPU, for a line apart from the headline.
    """
    results: dict[str, Any] = {"kit": len(kit), "tests": len(tests), "errors": {}}
    for count in COUNTS:
        rows = tuple(row for _, row in kit[:count])
        choices: dict[str, dict[str, Any]] = {
            "calibrated": {},
            "processor": {"feature_sets": (PROCESSOR,)},
            "accelerator": {"feature_sets": (ACCELERATOR,)},
        }
        if base is not None:
            choices["base"] = {"feature_sets": (f"{TABLE}{base}",)}
        found: dict[str, Any] = {}
        for line, options in choices.items():
            card = calibrate(Measurements(rows, {}), "foreign", **options)
            found[line] = _table_errors(card, tests, max(row.latency_ms for row in rows))
        measured = np.array([row.latency_ms for _, row in tests])
        for line, predicted in baselines(rows, [row for _, row in tests]).items():
            found[line] = errors(predicted, measured)
        results["errors"][str(count)] = found
    return results


def errors(predicted: Array, measured: Array) -> dict[str, Any]:
    """Return errors of predictions with 90 % bootstrap intervals where they say [e, low, high]."""
    relative = 100 * np.abs(predicted / measured - 1)
    return {
        "median_error_percent": _with_interval(2, _median, relative),
        "p90_error_percent": round(float(np.quantile(relative, 0.9)), 2),
        "bias_percent": round(100 * float(np.median(predicted / measured - 1)), 2),
        "spearman": _with_interval(4, _spearman, predicted, measured),
    }


def baselines(kit: Sequence[Row], tests: Sequence[Row]) -> dict[str, Array]:
    """Return predictions of simpler models from the same networks."""
    chosen = ProcessorFeatures()

    def totals(rows: Sequence[Row]) -> Array:
        found = chosen.of_network(np.stack([chosen.features(row.operators) for row in rows]))
        found[:, 0] = 1.0
        return found

    def macs(rows: Sequence[Row]) -> Array:
        return np.array([sum(o.macs for o in row.operators) for row in rows], dtype=float)

    latency = np.array([row.latency_ms for row in kit])
    # Relative errors count, as in the errors that are reported.
    prices, _ = nnls(totals(kit) / latency[:, None], np.ones(len(latency)))
    scale = np.exp(np.median(np.log(latency / macs(kit))))
    return {"macs": scale * macs(tests), "nnls": np.maximum(totals(tests) @ prices, 1e-6)}


def page(results: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    host = results["host"]
    lines = [
        "# Calibration of a foreign device",
        "",
        f"`{results['command']}`",
        "",
        f"{host['cpu']} ({host['cpu_model']}), ONNX Runtime {host['runtime_version']}, "
        f"{host['precision']}. The kit's networks are all that is known of the device; the "
        "networks predicted are random members of `mobile` that are not in the kit, measured in "
        "the same way and used for no choice. Prior: generic prices of processors, and an "
        "iPhone's table; no table of this CPU but where the line says so. Each latency is the "
        "lowest of all sweeps' medians: interruptions only ever add time. Brackets: 90 % bootstrap "
        "intervals over test networks.",
        *(["", host["note"]] if "note" in host else []),
    ]
    for mode, found in results["modes"].items():
        lines += [
            "",
            f"## {_TITLES[mode]}",
            "",
            f"{found['tests']} networks predicted. A network's two lowest sweeps differ by "
            f"{found['repeatability_percent']} % (median).",
            "",
            "| totals | model | median error | 90th percentile | bias | Spearman | 80 % interval "
            "covers | left-out error inside the kit |",
            "|---|---|---|---|---|---|---|---|",
        ]
        for count, by_line in found["errors"].items():
            for line, e in by_line.items():
                median, low, high = e["median_error_percent"]
                rank, rank_low, rank_high = e["spearman"]
                left = e.get("left_out_percent")
                covered = e.get("coverage_percent")
                lines.append(
                    f"| {count} | {_LINES[line]} | {median:.1f} % [{low:.1f}, {high:.1f}] | "
                    f"{e['p90_error_percent']:.1f} % | {e['bias_percent']:+.1f} % | "
                    f"{rank:.3f} [{rank_low:.3f}, {rank_high:.3f}] | "
                    f"{'' if covered is None else f'{covered:.0f} %'} | "
                    f"{'' if left is None else f'{left[0]:.1f} % [{left[1]:.1f}, {left[2]:.1f}]'} |"
                )
        ranges = found["errors"][str(COUNTS[-1])]["calibrated"]["ranges"]
        parts = "; ".join(
            f"{part['networks']} networks {_RANGES[name]}: "
            f"median {part['median_error_percent']:.1f} %, "
            f"90th percentile {part['p90_error_percent']:.1f} %"
            for name, part in ranges.items()
        )
        lines += ["", f"From {COUNTS[-1]} totals, {parts}."]
        for count, target in TARGETS.items():
            e = found["errors"][str(count)]["calibrated"]
            met = e["median_error_percent"][0] <= target
            lines += [
                "",
                f"Target from {count} totals, at most {target:.0f} % median error"
                + (f" and Spearman {TARGET_SPEARMAN} or more" if count == COUNTS[-1] else "")
                + ": "
                + (
                    "met."
                    if met and (count != COUNTS[-1] or e["spearman"][0] >= TARGET_SPEARMAN)
                    else "not met."
                ),
            ]
    return "\n".join(lines) + "\n"


def _table_errors(card: dict[str, Any], tests: Networks, slowest_ms: float) -> dict[str, Any]:
    table = DeviceTable("foreign", CalibratedTable.from_card(card, load_model))
    predictions = [table.predict(architecture) for architecture, _ in tests]
    measured = np.array([row.latency_ms for _, row in tests])
    predicted = np.array([p.mean_ms for p in predictions])
    inside = [
        p.interval_ms[0] <= ms <= p.interval_ms[1]
        for p, ms in zip(predictions, measured, strict=True)
    ]
    relative = 100 * np.abs(predicted / measured - 1)
    beyond = measured > slowest_ms
    ranges = {
        name: {
            "networks": int(part.sum()),
            "median_error_percent": round(float(np.median(relative[part])), 2),
            "p90_error_percent": round(float(np.quantile(relative[part], 0.9)), 2),
        }
        for name, part in (("within_kit", ~beyond), ("beyond_kit", beyond))
        if part.any()
    }
    return errors(predicted, measured) | {
        "ranges": ranges,
        "coverage_percent": round(100 * float(np.mean(inside)), 1),
        "totals": card["totals"],
        "left_out_percent": card["held_out"]["leave_network_out"]["median_error_percent"],
    }


def _with_interval(digits: int, statistic: Callable[..., float], *samples: Array) -> list[float]:
    low, high = interval(statistic, *samples, draws=_RESAMPLES, confidence=0.9)
    return [round(value, digits) for value in (statistic(*samples), low, high)]


def _median(values: Array) -> float:
    return float(np.median(values))


def _spearman(a: Array, b: Array) -> float:
    return float(spearmanr(a, b).statistic)
