"""The run's tables: trials.csv, with a row for every candidate, and front.csv."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from effsearch.search.pareto import front
from effsearch.search.records import Record
from searchspace import UserError

TRIALS, FRONT = "trials.csv", "front.csv"
COLUMNS = (
    "number", "digest", "origin", "source", "state", "feasible", "mean_ms", "std_ms",
    "quantile_ms", "score", "score_std", "lower_bound", "params", "macs", "resolution", "depth",
    "blocks", "error",
)  # fmt: skip


def write_tables(folder: Path, records: Sequence[Record]) -> None:
    """Write trials.csv and front.csv."""
    _write(folder / TRIALS, records)
    _write(folder / FRONT, front(records))


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


def _write(path: Path, records: Sequence[Record]) -> None:
    temporary = path.with_suffix(".tmp")
    with temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(_row(record) for record in records)
    temporary.replace(path)


def _row(record: Record) -> list[Any]:
    candidate, outcome = record.candidate, record.outcome
    architecture = candidate.architecture
    blocks = "|".join(
        "+".join(f"{block.type}x{block.depth}" for block in stage.blocks)
        for stage in architecture.stages
    )
    numbers = [
        outcome.mean_ms,
        outcome.std_ms,
        outcome.quantile_ms,
        outcome.score,
        outcome.score_std,
        outcome.lower_bound,
    ]
    return [
        record.number,
        candidate.digest,
        candidate.origin,
        candidate.source,
        "failed" if record.failed else "complete",
        int(record.feasible),
        *("" if value != value else value for value in numbers),
        outcome.params or "",
        outcome.macs or "",
        architecture.resolution,
        architecture.depth,
        blocks,
        outcome.error,
    ]
