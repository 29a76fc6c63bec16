"""Held-out errors in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def error_text(held_out: Mapping[str, Any]) -> str:
    """Return what a table or a score source states of its error on networks left out.

    Args:
        held_out: of a latency table (`leave_network_out`) or of a score source
            (`leave_one_network_out`; `validation_images` and `ranking` of one that measures).
    """
    latency = held_out.get("leave_network_out")
    if isinstance(latency, Mapping):
        text = f"median {_with_range(latency.get('median_error_percent'), ' %', 1)}"
        if latency.get("spearman") is not None:
            text += f", rank correlation {_with_range(latency['spearman'], '', 3)}"
        return f"{text}, on {latency.get('networks', '?')} networks left out one by one"
    score = held_out.get("leave_one_network_out")
    if isinstance(score, Mapping):
        scope = f" ({score['scope']})" if "scope" in score else ""
        return (
            f"RMSE {score['rmse']:.2f}, Kendall's tau {score['kendall_tau']:.2f}, on "
            f"{score['networks']} networks left out one by one{scope}"
        )
    drawn = held_out.get("validation_images")
    if drawn is not None:
        ranked = "; ".join(
            f"{_with_range(r['kendall_tau']['over_all'], '', 2)} with {r['networks']}, {r['how']}"
            for r in held_out.get("ranking", ())
        )
        text = f"that of drawing {drawn} validation images"
        more = f"; Kendall's tau of inherited accuracy and networks trained alone: {ranked}"
        return text + (more if ranked else "")
    return "not stated"


def _with_range(value: Any, unit: str, digits: int) -> str:
    if isinstance(value, list) and len(value) == 3:
        estimate, low, high = value
        return f"{estimate:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"
    return f"{value:.{digits}f}{unit}"
