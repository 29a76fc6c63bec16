"""Reading a score source's data file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from effsearch.json_text import parse_json
from searchspace.errors import UserError

T = TypeVar("T")


def load_score_file(path: str | Path, build: Callable[[Any], T]) -> T:
    """Return what is built from a JSON file's contents.

    Raises:
        UserError: where it is missing, not JSON, or `build` refuses it; names the file.
    """
    try:
        card = parse_json(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such score file") from None
    except (OSError, ValueError):
        raise UserError(f"{path}: not a readable JSON file; a score file is JSON") from None
    try:
        return build(card)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
