"""The page's templates filled in, with the filters that they use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from effsearch.messages import percent
from effsearch.report.figure import short_label
from effsearch.report.held_out_error import error_text
from effsearch.report.refined import epochs_text, top1_text


def _fixed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}"


def _megabytes(row: Mapping[str, Any], name: str) -> str:
    """Return a number of bytes in MB; older runs have none."""
    value = row.get(name)
    return "" if value is None else f"{value / 1e6:.2f} MB"


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
    "percent": percent,
    "short_label": short_label,
    "top1": top1_text,
}


def render(name: str, **values: Any) -> Markup:
    """Return a template filled in; values that are no markup are escaped."""
    return Markup(_ENVIRONMENT.get_template(name).render(**values))
