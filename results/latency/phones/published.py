"""Published phone latencies, cleaned by rule, with the operators of the networks measured."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from effsearch.onnx_io.reading import read_graph
from searchspace.errors import UserError
from searchspace.operators import Operator, from_graph

LATENCIES = "phones/latency.csv"
GRAPHS = "phones/graphs"


@dataclass(frozen=True, slots=True)
class Row:
    """One published end-to-end latency.

    Attributes:
        graph: network and resolution, the stem of its ONNX file.
        network: without resolution.
        family: networks left out together.
        paper: who measured.
        device: the phone.
        os: as published; empty where it was not.
        resolution: input side in pixels.
        latency_ms: as published.
        rounding_ms: spread that the printed digits of its source leave.
        source: table or figure.
    """

    graph: str
    network: str
    family: str
    paper: str
    device: str
    os: str
    resolution: int
    latency_ms: float
    rounding_ms: float
    source: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """A published latency that is not fitted to, and why."""

    model: str
    paper: str
    device: str
    latency_ms: float
    rule: str
    reason: str


@lru_cache(maxsize=1)
def rules() -> dict[str, Any]:
    """Return `phones.yaml`."""
    text = files("results.latency.phones").joinpath("phones.yaml").read_text("utf-8")
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def read_rows(data: str | Path, group: str) -> tuple[list[Row], list[Dropped]]:
    """Return the latencies of a group of phones, cleaned, and those set aside.

    Args:
        data: folder with `phones/latency.csv` and `phones/graphs`.
        group: of `phones.yaml`.

    Raises:
        UserError: where the data is missing.
    """
    path = Path(data) / LATENCIES
    if not path.is_file():
        raise UserError(f"{path}: no such file; --data names the folder that holds {LATENCIES}")
    phones = rules()["groups"][group]["phones"]
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    digits: dict[tuple[str, str], int] = {}
    for entry in table:
        printed = _published_in(entry)
        decimals = len(entry["latency_ms"].partition(".")[2].rstrip("0"))
        digits[printed] = max(decimals, digits.get(printed, 0))
    kept, dropped = [], []
    for entry in table:
        name = entry["device"]
        if name not in phones and name.split(" (")[0] not in phones:
            continue
        if not entry["network"] or not entry["resolution"]:
            continue
        resolution = round(float(entry["resolution"]))
        graph = f"{entry['network']}@{resolution}"
        if not (Path(data) / GRAPHS / f"{graph}.onnx").is_file():
            continue
        rule = _matching(entry)
        if rule is not None:
            dropped.append(
                Dropped(
                    entry["model"],
                    entry["paper"],
                    entry["device"],
                    float(entry["latency_ms"]),
                    rule["id"],
                    " ".join(rule["reason"].split()),
                )
            )
            continue
        kept.append(
            Row(
                graph=graph,
                network=entry["network"],
                family=family(entry["network"]),
                paper=entry["paper"],
                device=entry["device"],
                os=entry["os"],
                resolution=resolution,
                latency_ms=float(entry["latency_ms"]),
                rounding_ms=10.0 ** -digits[_published_in(entry)] / math.sqrt(12),
                source=entry["source"],
            )
        )
    return kept, dropped


def read_operators(data: str | Path, graphs: Sequence[str]) -> dict[str, tuple[Operator, ...]]:
    """Return the operators of each graph as a runtime executes it, in order of name."""
    folder = Path(data) / GRAPHS
    return {
        name: from_graph(read_graph(folder / f"{name}.onnx"), "deploy")
        for name in sorted(set(graphs))
    }


def family(network: str) -> str:
    """Return the family that a network is left out with."""
    return str(_longest_prefix(rules()["families"], network, network))


def block_types(network: str) -> tuple[str, ...]:
    """Return the block types of our space that a published network contains."""
    return tuple(_longest_prefix(rules()["blocks"], network, ()))


def _published_in(entry: dict[str, str]) -> tuple[str, str]:
    return entry["source"], entry["device"]


def _longest_prefix(table: dict[str, Any], name: str, default: Any) -> Any:
    matches = [prefix for prefix in table if name.startswith(prefix)]
    return table[max(matches, key=len)] if matches else default


def _matching(entry: dict[str, str]) -> dict[str, Any] | None:
    for rule in rules()["rules"]:
        where = rule["where"]
        if (
            where.get("paper", entry["paper"]) == entry["paper"]
            and where.get("device", entry["device"]) == entry["device"]
            and entry["network"].startswith(where.get("network", ""))
            and where.get("note", "") in entry["note"]
        ):
            matched: dict[str, Any] = rule
            return matched
    return None
