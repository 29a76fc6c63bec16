"""Measured tables as files: a readable JSON card, and a CSV of entries beside it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from effsearch.latency.models.card import (
    CardPart,
    Finite,
    LoadModel,
    Positive,
    TableCard,
    up_to,
)
from effsearch.latency.models.measured import (
    FORMAT,
    SUMS,
    TERMS,
    Calibration,
    Entry,
    MeasuredTable,
    Signature,
    signature,
)
from effsearch.validation import read
from searchspace.errors import UserError
from searchspace.operators import BYTES_PER_VALUE, KINDS, Operator

COLUMNS = (
    "kind", "op", "follows", "input", "output", "kernel", "stride", "groups",
    "macs", "values_in", "weights", "values_out", "ms", "kernels", "count", "networks", "spread",
)  # fmt: skip


def _exactly(length: int) -> Any:
    return Field(min_length=length, max_length=length)


class _Calibration(CardPart):
    weights: Annotated[list[Positive], _exactly(len(SUMS))]
    run_ms: Positive
    coefficients: Annotated[list[Finite], _exactly(TERMS)]
    low: Annotated[list[Finite], _exactly(3)]
    high: Annotated[list[Finite], _exactly(3)]
    knots: Annotated[list[Finite], _exactly(3)]
    std: Positive
    doubt_share: Positive


class _Peak(CardPart):
    gmacs_per_ms: Positive
    mb_per_ms: Positive
    stream_mb_per_ms: Positive


class _Drift(CardPart):
    reference_ms: Positive | None = None
    product_ms: Positive | None = None
    reference_streaming: Positive | None = None


class _GroupError(CardPart):
    kind: str
    op: str
    follows: str
    log_std: Finite


class _MeasuredCard(TableCard):
    format: Annotated[int, up_to(FORMAT, oldest=FORMAT)]
    kind: Literal["measured"]
    runtime_version: str
    cpu: str
    threads: Annotated[int, Field(ge=1)]
    errors: dict[str, Any]
    drift: _Drift = _Drift()
    peak: _Peak
    calibration: _Calibration
    group_errors: list[_GroupError]
    entries: int


def write_table(table: MeasuredTable, folder: Path) -> Path:
    """Write `NAME.json` and `NAME.csv` and return the JSON's path.

    Raises:
        UserError: where the folder can't be written.
    """
    name = table.card["name"]
    body = dict(table.card) | {
        "calibration": asdict(table.calibration),
        "group_errors": [
            {"kind": k, "op": op, "follows": follows, "log_std": round(error, 4)}
            for (k, op, follows), error in sorted(table.group_errors.items())
        ],
    }
    path = folder / f"{name}.json"
    try:
        with path.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows(sorted(_row(entry) for entry in table.entries.values()))
        path.write_text(json.dumps(_rounded(body), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot write this table: {error.strerror}") from None
    return path


def _row(entry: Entry) -> list[Any]:
    o = entry.operator
    return [
        o.kind, o.op, o.follows, _shape_text(o.input_shape), _shape_text(o.output_shape),
        o.kernel, o.stride, o.groups, o.macs, o.input_bytes // BYTES_PER_VALUE,
        o.weight_bytes // BYTES_PER_VALUE, o.output_bytes // BYTES_PER_VALUE,
        f"{entry.ms:.4g}", f"{entry.kernels:.3g}", entry.count, entry.networks,
        f"{entry.spread:.3g}",
    ]  # fmt: skip


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(item) for item in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _shape_text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def read_table(card: Mapping[str, Any], path: Path, load_model: LoadModel) -> MeasuredTable:
    """Return the table of a card and of the CSV beside its file; the kind's registered reader.

    Raises:
        UserError: where either is missing, broken, or of another format; names file and field.
    """
    checked = read(_MeasuredCard, card, path)
    entries = _read_entries(path.with_suffix(".csv"))
    if checked.entries != len(entries):
        raise UserError(
            f"{path}: entries: {checked.entries} is not {len(entries)}, the number of rows in "
            f"{path.stem}.csv"
        )
    fields: dict[str, Any] = checked.calibration.model_dump()
    for key in ("weights", "coefficients", "low", "high", "knots"):
        fields[key] = tuple(map(float, fields[key]))
    return MeasuredTable(
        entries=entries,
        calibration=Calibration(**fields),
        peak_gmacs_per_ms=checked.peak.gmacs_per_ms,
        peak_mb_per_ms=checked.peak.mb_per_ms,
        stream_mb_per_ms=checked.peak.stream_mb_per_ms,
        group_errors={
            (e.kind, e.op, e.follows): max(0.0, float(e.log_std)) for e in checked.group_errors
        },
        card={k: v for k, v in card.items() if k not in ("calibration", "group_errors")},
    )


def _read_entries(path: Path) -> dict[Signature, Entry]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
            rows = list(reader)
    except OSError as error:
        raise UserError(f"{path}: cannot read this table's entries: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: broken table, not CSV ({error})") from None
    if missing:
        raise UserError(f"{path}: broken table: columns lack {', '.join(missing)}")
    if not rows:
        raise UserError(f"{path}: broken table: rows are missing")
    entries = {}
    for number, row in enumerate(rows, start=2):
        try:
            entry = _entry(row)
        except (ValueError, TypeError, AttributeError):
            raise UserError(f"{path}: line {number} is broken or cut short") from None
        if entry.operator.kind not in KINDS or not 0 <= entry.ms < math.inf:
            raise UserError(f"{path}: line {number} must have a known kind and ms of 0 or more")
        entries[signature(entry.operator)] = entry
    return entries


def _entry(row: Mapping[str, str]) -> Entry:
    kernel, stride, groups, macs, values_in, weights, values_out = (
        int(row[name])
        for name in ("kernel", "stride", "groups", "macs", "values_in", "weights", "values_out")
    )
    operator = Operator(
        name="", kind=row["kind"], op=row["op"], input_shape=_shape(row["input"]),
        output_shape=_shape(row["output"]), kernel=kernel, stride=stride, groups=groups,
        macs=macs, params=0, input_bytes=BYTES_PER_VALUE * values_in,
        weight_bytes=BYTES_PER_VALUE * weights, output_bytes=BYTES_PER_VALUE * values_out,
        follows=row["follows"],
    )  # fmt: skip
    return Entry(
        operator, float(row["ms"]), float(row["kernels"]), int(row["count"]),
        int(row["networks"]), float(row["spread"]),
    )  # fmt: skip


def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("x")) if text else ()
