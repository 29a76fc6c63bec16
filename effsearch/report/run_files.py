"""The files of a run folder that a report is made of: their names, and how they are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import BaseModel

from effsearch import validation
from effsearch.json_text import parse_json
from effsearch.targets import CARD, TRIALS
from searchspace import UserError

SUMMARY = "summary.json"
SUMMARY_FORMAT = 1
FRONT = "front.csv"
COLUMNS = (
    "number", "digest", "origin", "source", "state", "feasible", "mean_ms", "std_ms",
    "quantile_ms", "score", "score_std", "lower_bound", "params", "macs", "resolution", "depth",
    "blocks", "error", "architecture",
)  # fmt: skip
_TEXT = ("digest", "origin", "source", "state", "blocks", "error", "architecture")
MORE_COLUMNS = ("memory_bytes", "size_bytes")  # absent from older runs
ELSEWHERE = ("mean_ms", "std_ms", "quantile_ms")  # once for each further device


def elsewhere_column(name: str, device: str) -> str:
    """Return the column of a latency on a further device."""
    return f"{name} on {device}"


# What the page takes of a summary and of a card; there is more in both.
class _Facts(BaseModel):
    kind: str


class _ScoreFacts(_Facts):
    unit: str


class _Winner(BaseModel):
    path: str
    digest: str
    blocks: str
    params: int
    macs: int


class _Named(BaseModel):
    name: str


class _Point(BaseModel):
    considered: int
    best_lower_bound: float
    hypervolume: float


class _Summary(BaseModel):
    format: Literal[1]
    device: str
    budget_ms: float
    confidence: float
    space: str
    considered: int | None = None  # absent from older runs, which recorded all
    scored: int
    failed: int
    within_budget: int
    seed: int
    seconds: float
    statement: str
    latency: _Facts
    score: _ScoreFacts
    baseline: _Named | None
    winners: list[_Winner]
    progress: list[_Point] = []


class _Number(BaseModel):
    value: float
    unit: str
    kind: str
    std: float | None = None
    interval_80: tuple[float, float] | None = None


class _Part(BaseModel):
    part: str
    value: float
    kind: str


class _Latency(BaseModel):
    mean: _Number
    quantile: _Number
    breakdown: list[_Part]


class _Score(BaseModel):
    value: _Number


class _Parity(_Number):
    weights: str


class _Onnx(BaseModel):
    weights: str
    parity: _Parity


class _Card(BaseModel):
    latency: _Latency
    score: _Score
    onnx: _Onnx
    measured: _Number | None = None
    trained: _Number | None = None


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the summary of a finished run.

    Raises:
        UserError: where the folder holds none.
    """
    try:
        body = parse_json((folder / SUMMARY).read_text("utf-8"))
    except (OSError, ValueError):
        raise UserError(
            f"{folder}: not a finished run of `effsearch run` (it has no readable {SUMMARY}; "
            f"`effsearch run --resume {folder}` finishes one)"
        ) from None
    if not isinstance(body, dict) or body.get("format") != SUMMARY_FORMAT:
        raise UserError(f"{folder / SUMMARY}: not a summary of this version of effsearch")
    validation.read(_Summary, body, folder / SUMMARY)
    return body


def read_card(folder: Path) -> dict[str, Any]:
    """Return the card of a winner.

    Raises:
        UserError: where the winner's folder has none, or the page cannot be made of it.
    """
    path = folder / CARD
    try:
        body: dict[str, Any] = parse_json(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise UserError(f"{path}: missing or not a card") from None
    validation.read(_Card, body, path)
    return body


def read_trials(folder: Path, name: str = TRIALS) -> pd.DataFrame:
    """Return trials.csv, or front.csv.

    Raises:
        UserError: where the folder has none, or it is not one of ours.
    """
    path = folder / name
    try:
        # Digests of digits alone are text, and so is an empty source.
        columns = pd.read_csv(path, nrows=0).columns
        frame = pd.read_csv(
            path,
            dtype=dict.fromkeys(_TEXT, str),
            keep_default_na=False,
            na_values={c: [""] for c in columns if c not in _TEXT},
        )
    except (OSError, ValueError):
        raise UserError(f"{folder}: not a finished run (it has no readable {name})") from None
    needed = [name for name in COLUMNS if name != "architecture"]  # older runs lack it
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise UserError(f"{path}: not a table of this version (it lacks {', '.join(missing)})")
    return frame
