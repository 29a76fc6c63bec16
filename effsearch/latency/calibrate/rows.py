"""A CSV of measured networks: a kit's, filled in, with any rows of one's own.

Leading lines `# key: value` say what was measured on (device, os, runtime, compute_unit, precision,
date). Each row names a network by `file` (a kit's) or `target`, relative to the CSV.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from effsearch.latency.models.card import block_types
from effsearch.targets import Target, load_target
from searchspace import Operator, UserError, zoo

MIN_ROWS = 5
HEADER_KEYS = ("device", "os", "runtime", "compute_unit", "precision", "date")
ARCHITECTURES = "architectures"  # a kit's folder of YAML, beside its models
CSV = "measurements.csv"  # a kit's
_WINNER = "architecture.yaml"

Report = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """One network's latency on the device.

    Attributes:
        line: in the file, from 1; the file's place where each network has one of its own.
        target: as the file has it.
        identity: the architecture's digest, or the file of any other network.
        operators: what the device ran.
        latency_ms: for one image.
        blocks: the network's block types; none known of an ONNX file.
    """

    line: int
    target: str
    identity: str
    operators: tuple[Operator, ...] = field(repr=False)
    latency_ms: float
    blocks: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Measurements:
    """A file's rows that were filled in, in order, and its header."""

    rows: tuple[Row, ...]
    header: dict[str, str]


def read_rows(path: Path) -> Measurements:
    """Read measured networks.

    Raises:
        UserError: where the file, a column, a network or a latency is wrong; names the lines.
    """
    header, first_line, body = _split(path)
    reader = csv.DictReader(body, skipinitialspace=True)
    try:
        columns = [c.strip().lower() for c in reader.fieldnames or []]
    except csv.Error as error:
        raise UserError(f"{path}: line {first_line}: not CSV ({error})") from None
    reader.fieldnames = columns
    missing = [] if "latency_ms" in columns else ["latency_ms"]
    if "file" not in columns and "target" not in columns:
        missing.append("file (of a kit) or target")
    if missing:
        raise UserError(f"{path}: line {first_line}: lacks the column {' and '.join(missing)}")
    rows: list[Row] = []
    wrong: list[str] = []
    blank: list[int] = []
    seen: dict[str, int] = {}
    for record in _records(reader, path):
        line = first_line + reader.line_num - 1
        cells = {k: (v or "").strip() for k, v in record.items() if isinstance(k, str) and k}
        if not any(cells.values()):
            continue
        text = cells.get("latency_ms", "")
        if not text:
            blank.append(line)
            continue
        try:
            latency = _latency(text)
            target = cells.get("file") or cells.get("target") or ""
            if not target:
                raise UserError("names no network")
            row = measured_row(line, target, latency, path.parent, cells.get("digest", ""))
            if row.identity in seen:
                raise UserError(
                    f"is the same network as line {seen[row.identity]}; keep one of them"
                )
        except UserError as error:
            wrong.append(f"line {line}: {error}")
            continue
        seen[row.identity] = line
        rows.append(row)
    if wrong:
        more = f" (and {len(wrong) - 3} more such lines)" if len(wrong) > 3 else ""
        raise UserError(f"{path}: {'; '.join(wrong[:3])}{more}")
    if not rows:
        raise UserError(
            f"{path}: no latency is filled in; write milliseconds in the column latency_ms "
            f"({_lines(blank)})"
            if blank
            else f"{path}: has no rows below line {first_line}"
        )
    check_count(path, [f"line {r.line}" for r in rows])
    return Measurements(tuple(rows), header)


def read_header(path: Path) -> dict[str, str]:
    """Return what a CSV's leading lines say.

    Raises:
        UserError: where it cannot be read or is empty.
    """
    return _split(path)[0]


def measured_row(line: int, target: str, latency_ms: float, folder: Path, digest: str = "") -> Row:
    """Return one network's row.

    Args:
        line: where it is in its file.
        target: a published network's name, or a file relative to `folder`.
        latency_ms: for one image.
        folder: that the target is relative to.
        digest: of the architecture that is expected, if any.

    Raises:
        UserError: where the target cannot be read or is another architecture.
    """
    found = _target(target, folder)
    identity, operators = _identity(found, target, digest), found.operators()
    blocks = block_types(found.architecture) if found.architecture else frozenset()
    return Row(line, target, identity, operators, latency_ms, blocks)


def check_count(path: Path, places: list[str]) -> None:
    """Check that enough networks were measured.

    Raises:
        UserError: where they are not; names where they are.
    """
    if len(places) < MIN_ROWS:
        raise UserError(
            f"{path}: {len(places)} measured network{'s' if len(places) > 1 else ''} "
            f"({', '.join(places)}); at least {MIN_ROWS} are needed, 10 recommended"
        )


def _records(reader: csv.DictReader[str], path: Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num}: not CSV ({error})") from None


def _split(path: Path) -> tuple[dict[str, str], int, list[str]]:
    """Return the header's keys, the line number of the columns, and the lines from there."""
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot read it: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not text in UTF-8; save it as CSV") from None
    header: dict[str, str] = {}
    for index, line in enumerate(lines):
        text = line.strip().strip('"').strip()
        if text.startswith("#"):
            # Spreadsheets pad short lines with separators, and quote what holds one.
            key, colon, value = text.lstrip("# ").rstrip(",;").rstrip('"').partition(":")
            if colon and key.strip().lower() in HEADER_KEYS and value.strip():
                header[key.strip().lower()] = value.strip()
        elif text.strip(",;"):
            body = lines[index:]
            if ";" in line and "," not in line:
                # Spreadsheets of many countries write decimal commas and semicolons.
                body = [part.replace(",", ".").replace(";", ",") for part in body]
            return header, index + 1, body
    raise UserError(f"{path}: is empty; `effsearch kit` writes such a file")


def _latency(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise UserError(f"latency_ms is {text!r}, not a number") from None
    if not (math.isfinite(value) and value > 0):
        raise UserError(f"latency_ms is {text}, not a positive number of milliseconds")
    return value


def _identity(target: Target, text: str, digest: str) -> str:
    """Return what identifies a network: its digest, or the file of an ONNX network."""
    if target.architecture is not None:
        found = target.architecture.digest()
        if digest and digest != found:
            raise UserError(f"{text} is the network {found}, not {digest}; was the kit rewritten?")
        return found
    assert target.path is not None
    return str(target.path.resolve())


def _target(text: str, folder: Path) -> Target:
    if text in zoo.names(task=None):
        return load_target(text)
    path = folder / text
    # A kit's model stands beside its architecture, which says the same and is quicker to read.
    beside = path.parent.parent / ARCHITECTURES / f"{path.stem}.yaml"
    if path.parent.name in ("models", "coreml") and beside.is_file():
        path = beside
    if path.name == "model.onnx" and (path.parent / _WINNER).is_file():
        path = path.parent / _WINNER
    if path.is_dir() and (path / _WINNER).is_file():
        path = path / _WINNER
    if not path.exists():
        known = "" if "/" in text or "." in text else " nor a published network"
        raise UserError(f"{text} is no file beside this one{known}")
    return load_target(str(path))


def _lines(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:6]))
    more = f" and {len(numbers) - 6} more" if len(numbers) > 6 else ""
    return f"line{'s' if len(numbers) > 1 else ''} {shown}{more}"
