"""What the fit of the default score says of itself, as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_LABELS = {
    "gmacs": "MACs alone",
    "mparams": "parameters alone",
    "layers": "layers alone",
}
_VIA = {
    "exact": "members of the space, built exactly",
    "nearest": "nearest member of the space",
    "layers": "built from the published layout (MBConv and DSConv networks)",
    "graph": "operator graph (ONNX) of the network",
    "sizes": "parameters, MACs and resolution only",
}


def markdown(page: Mapping[str, Any]) -> str:
    """Return the evidence as a page."""
    lines = [
        "# Estimated ImageNet-1k top-1",
        "",
        f"Made by `{page['command']}`. Kind of every estimate: `estimated`.",
        "",
        "The model is a line in named terms, fitted to the log of the published top-1 error, with a",
        "level of its own for every recipe (`results/accuracy/hierarchical.py`). Every held-out",
        "figure is nested: scales and slopes are fitted again without what is left out. Intervals",
        "in brackets are 95% bootstraps, over networks or over groups.",
        "",
        *_rows(page["rows"]),
        *_networks(page),
        *_pairs(page),
        *_changes(page["changes"]),
        *_terms(page),
        *_foreign(page),
        *_degenerates(page["degenerates"]),
        *_limits(page),
    ]
    return "\n".join(lines) + "\n"


def _rows(rows: Mapping[str, Any]) -> list[str]:
    lines = [
        "## What it learns from",
        "",
        f"{rows['used']} published trainings of {rows['recipes']} recipes:",
        "",
        "| how a network's terms are known | rows |",
        "|---|---|",
    ]
    lines += [f"| {_VIA[via]} | {count} |" for via, count in rows["via"].items()]
    lines += ["", "Left out: " + "; ".join(f"{n}: {why}" for why, n in rows["left_out"].items())]
    lines[-1] += "."
    return [*lines, ""]


def _networks(page: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Networks and families left out",
        "",
        "Estimates are for the recipe that the network was trained with (distilled or not). A family",
        "is left out with its recipe and with every network that is mostly of its blocks.",
        "",
        "| left out | by | RMSE, points | Kendall's tau | worst | bias | error / std "
        "| in the 80% interval |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for what in ("network", "family"):
        key = f"leave_one_{what}_out"
        tables = {"the score": page["held_out"]}
        tables |= {_LABELS[count]: row for count, row in page["baselines"].items()}
        lines += [_error_row(what, by, table[key]) for by, table in tables.items()]
    lines += [
        "",
        "| network | distilled | top-1 | without it | without its family |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['network']} | {'yes' if r['distilled'] else 'no'} | {r['top1']:.1f} "
        f"| {r['estimate']:.1f} ± {r['std']:.1f} "
        f"| {r['without_family']:.1f} ± {r['without_family_std']:.1f} |"
        for r in page["networks"]
    ]
    return [*lines, ""]


def _error_row(what: str, by: str, row: Mapping[str, Any]) -> str:
    return (
        f"| {what} | {by} | {row['rmse']:.2f} {_span(row['rmse_interval_95'])} "
        f"| {row['kendall_tau']:.2f} {_span(row['kendall_tau_interval_95'])} | {row['worst']:.1f} "
        f"| {row['bias']:+.1f} | {row['error_over_std']:.2f} | {row['within_80']:.0%} |"
    )


def _pairs(page: Mapping[str, Any]) -> list[str]:
    lines = [
        "## Differences inside comparable groups",
        "",
        "Pairs of networks that were trained alike, those known by sizes alone excepted. Left out is",
        "either the whole recipe of the pair, or the two networks alone. Sign: of the pairs that",
        "differ by 0.3 points or more.",
        "",
        "| left out | by | pairs | sign right | median error, points | of differences to 2 points "
        "| Kendall's tau inside groups |",
        "|---|---|---|---|---|---|---|",
    ]
    for by, what in (("without_recipe", "its recipe"), ("without_pair", "the pair")):
        tables = {
            "the score": page["held_out"][f"pairs_{by}"],
            "the score, members of the space only": page["members_only"][by],
        }
        tables |= {_LABELS[k]: row[f"pairs_{by}"] for k, row in page["baselines"].items()}
        for name, row in tables.items():
            lines.append(
                f"| {what} | {name} | {row['pairs']} in {row['groups']} groups "
                f"| {row['sign_right']:.1%} {_span(row['sign_right_interval_95'])} "
                f"| {row['median_error']:.2f} {_span(row['median_error_interval_95'])} "
                f"| {row['median_error_within_2_points']:.2f} "
                f"| {row['kendall_tau']:.2f} {_span(row['kendall_tau_interval_95'])} |"
            )
    lines += [
        "",
        "Group by group: share of signs right, median error, tau.",
        "",
        "| group | networks | pairs | without its recipe | without the pair |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['group']} | {r['rows']} | {r['pairs']} | {_three(r['without_recipe'])} "
        f"| {_three(r['without_pair'])} |"
        for r in page["groups"]
    ]
    return [*lines, ""]


def _changes(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "## Published changes",
        "",
        "| change | published | estimated | estimated without these rows |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {r['change']} | {r['published']:+.1f} | {r['with_rows']:+.1f} | {r['left_out']:+.1f} |"
        for r in changes
    ]
    return [*lines, ""]


def _terms(page: Mapping[str, Any]) -> list[str]:
    lines = [
        "## What each term adds to log error",
        "",
        "0.05 is about 1 point at 80%; a positive slope means a higher error. Named are the recipes",
        "within which the term varies most.",
        "",
        "| term | what it measures | prior, and where it is from | posterior | evidence |",
        "|---|---|---|---|---|",
    ]
    for r in page["terms"]:
        evidence = ", ".join(r["evidence"]) or "none: the prior"
        lines.append(
            f"| {r['term']} | {r['what']} | {r['prior']:+.3f} ± {r['prior_std']:.3f}; "
            f"{r['prior_from']} | {r['mean']:+.3f} ± {r['std']:.3f} | {evidence} |"
        )
    lines += [
        "",
        "| level of a family, and what its recipe changes of compute and resolution | posterior |",
        "|---|---|",
    ]
    lines += [
        f"| {name} | {row['mean']:+.3f} ± {row['std']:.3f} |"
        for name, row in page["levels"].items()
    ]
    scales = ", ".join(f"{name} {value:.3f}" for name, value in page["scales"].items())
    return [*lines, "", f"Scales of greatest marginal likelihood: {scales}.", ""]


def _foreign(page: Mapping[str, Any]) -> list[str]:
    row = page["held_out"]["foreign_graphs"]
    lines = [
        "## Networks known by their graph alone",
        "",
        "`effsearch score FILE.onnx`. Left out: the network's whole paper, or family.",
        "",
        f"{row['networks']} networks: RMSE {row['rmse']:.1f} points "
        f"{_span(row['rmse_interval_95'])}, tau {row['kendall_tau']:.2f} "
        f"{_span(row['kendall_tau_interval_95'])}, {row['within_80']:.0%} in the 80% interval.",
        "",
        "| network | top-1 | from its graph |",
        "|---|---|---|",
    ]
    lines += [
        f"| {r['network']} | {r['top1']:.1f} | {r['estimate']:.1f} ± {r['std']:.1f} |"
        for r in page["foreign"]
    ]
    return [*lines, ""]


def _degenerates(planted: Sequence[Mapping[str, Any]]) -> list[str]:
    ahead = sum(row["lower_bound"] >= row["rival_lower_bound"] for row in planted)
    lines = [
        "## Planted degenerates",
        "",
        f"{ahead} of {len(planted)} outrank the best published network of no more MACs, by the "
        "lower bound (`results/accuracy/degenerates.yaml`).",
        "",
        "| degenerate | estimate | lower bound | best published | its lower bound |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['network']} | {r['estimate']:.1f} ± {r['std']:.1f} | {r['lower_bound']:.1f} "
        f"| {r['rival']} | {r['rival_lower_bound']:.1f} |"
        for r in planted
    ]
    return [*lines, ""]


def _limits(page: Mapping[str, Any]) -> list[str]:
    return [
        "## What it cannot tell",
        "",
        "- Nobody has published a network that mixes two of the four families. What a mixture gains "
        "or loses beyond the mean of its parts is a judgement (0.02 of log error, half and half), "
        "not evidence.",
        "- Slopes come from whole networks that differ in several things at once. Inside the space "
        "a search can move one axis alone, further than any paper did; a slope's own uncertainty "
        "is in the interval, the model's being a line is not.",
        "- A recipe's level and its blocks' merit cannot be told apart where only one paper trained "
        "such blocks; a family's level is both.",
        "- Terms without evidence (widening, options outside of what is published, unpublished "
        "shapes) have the slope that we judged.",
        "- What only names tell, not terms (gating, squeeze-and-excitation, activations, norms, "
        "training details), it does not see; groups that vary only in that are left out.",
        "- It estimates ImageNet-1k top-1 alone. Other data, other tasks, robustness and "
        "quantisation are another matter.",
        "",
    ]


def _three(values: Sequence[float | None]) -> str:
    sign, error, tau = ("" if v is None else f"{v:.2f}" for v in values)
    return f"{sign}, {error}, {tau}"


def _span(interval: Sequence[float]) -> str:
    return f"({interval[0]:.2f} to {interval[1]:.2f})"
