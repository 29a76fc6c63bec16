"""The page's templates filled in, with the filters that they use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from effsearch.messages import percent
from effsearch.report.figure import short_label
from effsearch.report.held_out_error import error_text
from effsearch.report.refined import epochs_text, metric_text, network_name


def _fixed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"


def _megabytes(count: int | None) -> str:
    """Return a number of bytes in MB; older runs have none."""
    return "" if count is None else f"{count / 1e6:.2f}"


def _waterfall(parts: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float, str]]:
    """Return a bar for each part of a latency: name, begin and length in percent, text."""
    total = sum(part["value"] for part in parts) or 1.0
    bars, start = [], 0.0
    for part in parts:
        share = 100 * part["value"] / total
        bars.append((part["part"], start, share, f"{part['value']:.3f} ms {part['kind']}"))
        start += share
    return bars


def _shares(choices: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float, str]]:
    """Return a bar for each choice: name, begin and length in percent, text."""
    most = max(row["share"] for row in choices) or 1.0
    return [
        (row["axis"], 0.0, 100 * row["share"] / most, f"{100 * row['share']:.1f} %")
        for row in choices
    ]


_ENVIRONMENT = Environment(
    loader=PackageLoader("effsearch.report"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {
    "epochs_text": epochs_text,
    "error_text": error_text,
    "fixed": _fixed,
    "megabytes": _megabytes,
    "metric_text": metric_text,
    "network_name": network_name,
    "percent": percent,
    "shares": _shares,
    "short_label": short_label,
    "waterfall": _waterfall,
}


def render(name: str, **values: Any) -> Markup:
    """Return a template filled in; values that are no markup are escaped."""
    return Markup(_ENVIRONMENT.get_template(name).render(**values))
