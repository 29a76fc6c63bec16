"""JSON text as plain data, with one error for all that is wrong with it."""

from __future__ import annotations

import json
from typing import Any

_DIGITS = 40  # of a whole number; more fit no field, and overflow where they become floats


def parse_json(text: str | bytes) -> Any:
    """Return the data of JSON text.

    Raises:
        ValueError: where it is not JSON, is nested too deep, or has a number of too many digits.
    """
    try:
        return json.loads(text, parse_int=_whole)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)
