"""Measured tables as files: a readable JSON card, and a CSV of entries beside it."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from effsearch.latency.catalogue import read_card
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
from searchspace.errors import UserError
from searchspace.operators import BYTES_PER_VALUE, KINDS, Operator

COLUMNS = (
    "kind", "op", "follows", "input", "output", "kernel", "stride", "groups",
    "macs", "values_in", "weights", "values_out", "ms", "kernels", "count", "networks", "spread",
)  # fmt: skip
_TEXTS = ("name", "device", "os", "runtime", "runtime_version", "precision", "date", "cpu")
_LENGTHS = {"weights": len(SUMS), "coefficients": TERMS, "low": 3, "high": 3, "knots": 3}


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


def read_table(path: Path) -> MeasuredTable:
    """Return the table of a JSON file and its CSV.

    Raises:
        UserError: where either is missing, broken, or of a newer format; names file and field.
    """
    card = read_card(path)
    check = _Check(path)
    version: Any = card.get("format")
    check(isinstance(version, int) and version >= 1, "format", "must be a version number")
    check(
        version <= FORMAT, "format",
        f"is {version}, newer than {FORMAT}, the newest that this version reads; update effsearch",
    )  # fmt: skip
    check(
        version >= FORMAT, "format",
        f"is {version}, of an earlier version; make the table again with `effsearch profile`",
    )  # fmt: skip
    check(card.get("kind") == "measured", "kind", "must be 'measured'")
    for key in _TEXTS:
        check(isinstance(card.get(key), str), key, "must be text")
    check(type(card.get("threads")) is int and card["threads"] >= 1, "threads", "must be 1 or more")
    check(isinstance(card.get("errors"), dict), "errors", "must be an object")
    if "drift" in card:
        drift = check.mapping(card, "drift")
        for key in {"reference_ms", "product_ms", "reference_streaming"} & set(drift):
            check.positive(drift, key, "drift.")
    peak = check.mapping(card, "peak")
    calibration = check.mapping(card, "calibration")
    values: dict[str, Any] = {
        key: check.numbers(calibration, key, length) for key, length in _LENGTHS.items()
    }
    check(min(values["weights"]) > 0, "calibration.weights", "must be positive")
    for key in ("run_ms", "std", "doubt_share"):
        values[key] = check.positive(calibration, key, "calibration.")
    entries = _read_entries(path.with_suffix(".csv"))
    check(
        card.get("entries") == len(entries), "entries",
        f"says {card.get('entries')!r}, and {path.stem}.csv has {len(entries)}",
    )  # fmt: skip
    return MeasuredTable(
        entries=entries,
        calibration=Calibration(**values),
        peak_gmacs_per_ms=check.positive(peak, "gmacs_per_ms", "peak."),
        peak_mb_per_ms=check.positive(peak, "mb_per_ms", "peak."),
        stream_mb_per_ms=check.positive(peak, "stream_mb_per_ms", "peak."),
        group_errors=_group_errors(card.get("group_errors"), check),
        card={k: v for k, v in card.items() if k not in ("calibration", "group_errors")},
    )


def _group_errors(found: Any, check: _Check) -> dict[tuple[str, str, str], float]:
    check(isinstance(found, list), "group_errors", "must be a list")
    errors = {}
    for i, entry in enumerate(found):
        where = f"group_errors[{i}]"
        check(isinstance(entry, dict), where, "must be an object")
        texts = [entry.get(key) for key in ("kind", "op", "follows")]
        check(all(isinstance(t, str) for t in texts), where, "must name kind, op and follows")
        check(_is_number(entry.get("log_std")), f"{where}.log_std", "must be a number")
        errors[texts[0], texts[1], texts[2]] = max(0.0, float(entry["log_std"]))
    return errors


def _read_entries(path: Path) -> dict[Signature, Entry]:
    check = _Check(path)
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [c for c in COLUMNS if c not in (reader.fieldnames or ())]
            check(not missing, "columns", f"lack {', '.join(missing)}")
            rows = list(reader)
    except OSError as error:
        raise UserError(f"{path}: cannot read this table's entries: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: broken table, not CSV ({error})") from None
    check(bool(rows), "rows", "are missing")
    entries = {}
    for number, row in enumerate(rows, start=2):
        try:
            entry = _entry(row)
        except (ValueError, TypeError, AttributeError):
            raise UserError(f"{path}: line {number} is broken or cut short") from None
        check(
            entry.operator.kind in KINDS and math.isfinite(entry.ms) and entry.ms >= 0,
            f"line {number}", "must have a known kind and ms of 0 or more",
        )  # fmt: skip
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


class _Check:
    """Complaints about a file, each naming it and the field."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __call__(self, good: bool, name: str, complaint: str) -> None:
        if not good:
            raise UserError(f"{self.path}: broken table: {name} {complaint}")

    def mapping(self, card: Mapping[str, Any], key: str) -> dict[str, Any]:
        found = card.get(key)
        self(isinstance(found, dict), key, "must be an object")
        return dict(found or {})

    def positive(self, card: Mapping[str, Any], key: str, where: str) -> float:
        value = card.get(key)
        good = _is_number(value) and value > 0  # type: ignore[operator]
        self(good, where + key, f"must be a positive number, not {value!r}")
        return float(value)  # type: ignore[arg-type]

    def numbers(self, card: Mapping[str, Any], key: str, length: int) -> tuple[float, ...]:
        found = card.get(key)
        good = isinstance(found, list) and len(found) == length and all(map(_is_number, found))
        self(good, f"calibration.{key}", f"must be {length} numbers")
        return tuple(map(float, found or ()))
