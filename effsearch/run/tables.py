"""The run's tables: trials.csv, with a row for every candidate, and front.csv."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from effsearch.files import atomic_write
from effsearch.report.run_files import (
    COLUMNS,
    ELSEWHERE,
    FRONT,
    MORE_COLUMNS,
    elsewhere_column,
)
from effsearch.search.candidates import Record
from effsearch.search.pareto import front
from effsearch.targets import TRIALS
from searchspace.resolution import resolution_text


def write_tables(folder: Path, records: Sequence[Record]) -> None:
    """Write trials.csv and front.csv."""
    _write(folder / TRIALS, records)
    _write(folder / FRONT, front(records))


def _write(path: Path, records: Sequence[Record]) -> None:
    devices = dict.fromkeys(o.device for r in records for o in r.outcome.elsewhere)
    elsewhere = [elsewhere_column(name, d) for d in devices for name in ELSEWHERE]
    with atomic_write(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, *MORE_COLUMNS, *elsewhere])
        writer.writerows(_row(record) for record in records)


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
        resolution_text(architecture.resolution),
        architecture.depth,
        blocks,
        outcome.error,
        json.dumps(architecture.renamed("").to_dict(), separators=(",", ":")),
        outcome.memory_bytes or "",
        outcome.size_bytes or "",
        *(getattr(other, name) for other in outcome.elsewhere for name in ELSEWHERE),
    ]
