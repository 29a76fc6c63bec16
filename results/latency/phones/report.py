"""What nested cross-validation found, as numbers with bootstrap intervals and as a page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from results.latency.phones.dataset import Dataset
from results.latency.phones.evaluation import COVERAGE, Folds, HeldOut, Unit

_DRAWS = 2000
UNITS: tuple[Unit, ...] = ("network", "family")


def summarise(held_out: Sequence[HeldOut]) -> dict[str, Any]:
    """Return errors of left-out networks, with 90% bootstrap intervals over networks."""
    errors = {
        "networks": len({h.reference.graph for h in held_out}),
        "latencies": len(held_out),
        "median_error_percent": _with_interval(held_out, _median_error),
        "mean_error_percent": _with_interval(held_out, _mean_error),
        "bias_percent": _with_interval(held_out, _bias),
        "coverage_percent": _with_interval(held_out, _coverage),
    }
    if len(held_out) >= 5:
        errors["spearman"] = _with_interval(held_out, _spearman)
    return errors


def by(held_out: Sequence[HeldOut], key: Callable[[HeldOut], str]) -> dict[str, Any]:
    """Return the summary of each group."""
    groups: dict[str, list[HeldOut]] = defaultdict(list)
    for h in held_out:
        groups[key(h)].append(h)
    return {name: summarise(groups[name]) for name in sorted(groups)}


def _with_interval(
    held_out: Sequence[HeldOut], statistic: Callable[[Sequence[HeldOut]], float]
) -> list[float]:
    """Return a statistic and its 90% interval: [value, low, high]."""
    # Not `results.bootstrap`: networks are drawn with all their rows, which are unequal in number.
    clusters: dict[str, list[HeldOut]] = defaultdict(list)
    for h in held_out:
        clusters[h.reference.network].append(h)
    names = sorted(clusters)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(_DRAWS if len(names) > 1 else 0):
        sample = [h for i in rng.integers(len(names), size=len(names)) for h in clusters[names[i]]]
        draws.append(statistic(sample))
    value = statistic(held_out)
    low, high = np.nanquantile(draws, [0.05, 0.95]) if draws else (value, value)
    return [round(float(x), 4 if abs(value) <= 1 else 1) for x in (value, low, high)]


def _errors(held_out: Sequence[HeldOut]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(np.expm1([h.log_error for h in held_out]))


def _median_error(held_out: Sequence[HeldOut]) -> float:
    return 100 * float(np.median(np.abs(_errors(held_out))))


def _mean_error(held_out: Sequence[HeldOut]) -> float:
    return 100 * float(np.mean(np.abs(_errors(held_out))))


def _bias(held_out: Sequence[HeldOut]) -> float:
    return 100 * float(np.median(_errors(held_out)))


def _coverage(held_out: Sequence[HeldOut]) -> float:
    return 100 * float(np.mean([h.covered for h in held_out]))


def _spearman(held_out: Sequence[HeldOut]) -> float:
    predicted = [h.median_ms for h in held_out]
    measured = [h.reference.latency_ms for h in held_out]
    if len(set(measured)) < 2:
        return float("nan")
    return float(spearmanr(predicted, measured).statistic)


def of_folds(dataset: Dataset, folds: Folds) -> dict[str, float]:
    """Return the errors of a plain cross-validation on the networks in scope."""
    rows = [i for i, r in enumerate(folds.references) if dataset.in_scope(r)]
    taken = folds.take(rows)
    measured = np.array([r.latency_ms for r in taken.references])
    errors = 100 * np.abs(np.expm1(taken.errors))
    return {
        "median_error_percent": round(float(np.median(errors)), 2),
        "mean_error_percent": round(float(np.mean(errors)), 2),
        "spearman": round(float(spearmanr(measured * np.exp(taken.errors), measured).statistic), 4),
    }


def page(evaluation: dict[str, Any]) -> str:
    """Return the evaluation as Markdown."""
    lines = [
        "# Fitted phone tables: errors on networks left out",
        "",
        f"Made by `{evaluation['command']}`.",
        "",
        "Every network (all of its rows, resolutions and phones together), or every family, is",
        "left out of the fit and of every choice made for it: form, which totals have prices of",
        "their own, and spreads are chosen by an inner cross-validation over the rest. (The list",
        "of totals to choose from was drawn up with all networks in view.) An error is of the",
        "predicted against the median published latency of a network on a phone. Values are the",
        "estimate with its 90%",
        f"bootstrap interval over networks. Intervals aim at {COVERAGE:.0%} coverage.",
    ]
    for group, card in evaluation.items():
        if group != "command":
            lines += _group(group, card)
    return "\n".join(lines) + "\n"


def _group(group: str, card: dict[str, Any]) -> list[str]:
    columns = "networks | median error % | mean error % | Spearman | coverage % | bias %"
    rule = "|---|---|---|---|---|---|---|"
    lines = ["", f"## {group}: {card['scope']}", "", f"| left out | {columns} |", rule]
    lines += [_line(name, s) for name, s in card["in_scope"].items()]
    lines += [
        "",
        "Side by side on the same networks, plain cross-validation with nothing chosen inside:",
        "",
        "| model | left out | median error % | mean error % | Spearman |",
        "|---|---|---|---|---|",
    ]
    for name, parts in (card["baselines"] | card["ablations"]).items():
        lines += [
            f"| {name} | {unit} | {s['median_error_percent']:.1f} "
            f"| {s['mean_error_percent']:.1f} | {s['spearman']:.3f} |"
            for unit, s in parts.items()
        ]
    for unit in UNITS:
        for key, note in (("device", "all resolutions"), ("family", card["scope"])):
            lines += ["", f"### By {key}, one {unit} left out ({note})", ""]
            lines += [f"| {key} | {columns} |", rule]
            lines += [_line(name, s) for name, s in card[f"leave_{unit}_out"][f"by_{key}"].items()]
    if card["dropped"]:
        lines += ["", "### Rows set aside", "", "| rule | rows | why |", "|---|---|---|"]
        lines += [f"| {d['rule']} | {d['rows']} | {d['reason']} |" for d in card["dropped"]]
    lines += ["", "### Forms chosen", ""]
    return lines + [f"- {count} times: {form}" for form, count in card["forms"].items()]


def _line(name: str, s: dict[str, Any]) -> str:
    def show(key: str) -> str:
        value = s.get(key)
        return "" if value is None else f"{value[0]:g} [{value[1]:g}, {value[2]:g}]"

    return (
        f"| {name} | {s['networks']} | {show('median_error_percent')} "
        f"| {show('mean_error_percent')} | {show('spearman')} | {show('coverage_percent')} "
        f"| {show('bias_percent')} |"
    )
