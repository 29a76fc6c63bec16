"""The files of a run folder that a report is made of: their names, and how they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from searchspace import UserError

SUMMARY, CARD = "summary.json", "card.json"
SUMMARY_FORMAT = 1
TRIALS, FRONT = "trials.csv", "front.csv"
COLUMNS = (
    "number", "digest", "origin", "source", "state", "feasible", "mean_ms", "std_ms",
    "quantile_ms", "score", "score_std", "lower_bound", "params", "macs", "resolution", "depth",
    "blocks", "error",
)  # fmt: skip


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the summary of a finished run.

    Raises:
        UserError: where the folder holds none.
    """
    try:
        body = json.loads((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: not a finished run of `effsearch run` (it has no readable {SUMMARY}; "
            f"`effsearch run --resume {folder}` finishes one)"
        ) from None
    if not isinstance(body, dict) or body.get("format") != SUMMARY_FORMAT:
        raise UserError(f"{folder / SUMMARY}: not a summary of this version of effsearch")
    return body


def read_trials(folder: Path, name: str = TRIALS) -> pd.DataFrame:
    """Return trials.csv, or front.csv.

    Raises:
        UserError: where the folder has none, or it is not one of ours.
    """
    path = folder / name
    try:
        # Digests of digits alone are text, and so is an empty source.
        text = {"digest": str, "origin": str, "source": str, "state": str, "blocks": str}
        frame = pd.read_csv(
            path,
            dtype={**text, "error": str},
            keep_default_na=False,
            na_values={c: [""] for c in COLUMNS if c not in {*text, "error"}},
        )
    except (OSError, ValueError):
        raise UserError(f"{folder}: not a finished run (it has no readable {name})") from None
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        raise UserError(f"{path}: not a table of this version (it lacks {', '.join(missing)})")
    return frame
