"""A kit measured with a benchmark tool: its output, one file a network, in a folder of the kit.

A file is of the network that its name begins with (`07.log`, `07.json`), else of the model that was
run, by the tool's word (`.../07.onnx`).
"""

from __future__ import annotations

from pathlib import Path

from effsearch.latency.calibrate.benchmark_output import Reading, read_output
from effsearch.latency.calibrate.rows import (
    ARCHITECTURES,
    CSV,
    Measurements,
    Row,
    check_count,
    measured_row,
    read_header,
)
from searchspace import UserError


def read_outputs(folder: Path) -> Measurements:
    """Read a folder of output files.

    Args:
        folder: in a kit's folder; hidden files in it are skipped.

    Returns:
        A row for each file, by name; the header is that of the kit's CSV, where there is one, with
        the tool's runtime unless it states another.

    Raises:
        UserError: where the folder is of no kit, or a file is not a tool's whole output for one of
            the kit's networks, of the same tool and statistic as the others.
    """
    if (folder / ARCHITECTURES).is_dir():
        raise UserError(
            f"{folder}: is a kit; name its {CSV}, or the folder in it that holds a tool's output"
        )
    kit = folder.resolve().parent
    networks = {path.stem: path for path in sorted((kit / ARCHITECTURES).glob("*.yaml"))}
    if not networks:
        raise UserError(
            f"{folder}: is not in a kit's folder, beside {ARCHITECTURES}; put it there, so that "
            "07.log is known as the kit's network 07"
        )
    found: dict[str, tuple[Path, Reading]] = {}
    rows: list[Row] = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix == ".mlperf":
            raise UserError(
                f"{path}: Xcode's report cannot be read; copy its median into {CSV} and "
                "calibrate that"
            )
        reading = read_output(path)
        name = _network(path, reading, networks)
        if name in found:
            raise UserError(f"{path}: is of the same network as {found[name][0]}; keep one of them")
        found[name] = (path, reading)
        _check_alike(path, reading, *next(iter(found.values())))
        target = str(networks[name].relative_to(kit))
        rows.append(measured_row(len(rows) + 1, target, reading.latency_ms, kit))
    if not rows:
        raise UserError(
            f"{folder}: is empty; put a benchmark tool's output there, as 00.log and on"
        )
    check_count(folder, [path.name for path, _ in found.values()])
    header = read_header(kit / CSV) if (kit / CSV).exists() else {}
    _, first = next(iter(found.values()))
    return Measurements(tuple(rows), {"runtime": first.runtime, **header})


def _network(path: Path, reading: Reading, networks: dict[str, Path]) -> str:
    """Return the kit's network that a file is of."""
    by_file = path.name.split(".")[0]
    by_model = reading.model.replace("\\", "/").rpartition("/")[2].split(".")[0]
    named = {name for name in (by_file, by_model) if name in networks}
    if len(named) > 1:
        raise UserError(f"{path}: has run network {by_model}, not {by_file}; name it after that")
    if not named:
        raise UserError(
            f"{path}: is of no network of the kit; name it after one, from {min(networks)} to "
            f"{max(networks)}"
        )
    return named.pop()


def _check_alike(path: Path, reading: Reading, first_path: Path, first: Reading) -> None:
    if (reading.tool, reading.statistic) != (first.tool, first.statistic):
        raise UserError(
            f"{path}: has the {reading.statistic} of {reading.tool}, {first_path.name} the "
            f"{first.statistic} of {first.tool}; measure all with the same tool"
        )
