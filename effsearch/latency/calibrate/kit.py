"""`effsearch kit`: the networks whose total latencies say most about a device's prices.

They are chosen one by one from a sample of the space. Each is the network that, by the prior's
prices, most lowers the mean variance of what would be predicted for the whole sample (V-optimal
design, greedy; Chaloner & Verdinelli, "Bayesian Experimental Design: A Review", 1995). So any first
few of them are a good kit as well.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from effsearch.latency.calibrate import kit_guide, kit_runner
from effsearch.latency.calibrate.rows import ARCHITECTURES, CSV, HEADER_KEYS
from effsearch.latency.cost_model import Array
from effsearch.latency.models import processor_features as processor
from effsearch.latency.models.price_prior import processor_prior
from effsearch.latency.timing.machine import slug
from searchspace import Architecture, SearchSpace, UserError, operators, zoo

SIZE = 30
FIRST = 10  # already give a usable table
POOL = 400
MAX_COST_QUANTILE = 0.75
_DESIGN_NOISE = 0.05  # log error of a model of totals; only its ratio to the prior's spread matters
COLUMNS = ("index", "file", "digest", "latency_ms", "runs")
MODELS, PACKAGES = "models", "coreml"
GUIDE, RUNNER = "MEASURE.md", "measure.py"
SCRIPTS = ("measure_android.sh", "measure_jetson.sh")  # beside this module; copied as they are

Report = Callable[[str], None]


@dataclass(frozen=True)
class Kit:
    """What was written.

    Attributes:
        folder: where.
        architectures: in the order to measure them.
        csv: the table to fill in.
        formats: of the models: onnx, and coreml where coremltools is installed.
    """

    folder: Path
    architectures: tuple[Architecture, ...]
    csv: Path
    formats: tuple[str, ...]


def choose(
    space: SearchSpace, size: int = SIZE, pool: int = POOL, seed: int = 0, report: Report = print
) -> tuple[Architecture, ...]:
    """Return the networks of a kit, the most telling first.

    Args:
        space: whose networks will be predicted.
        size: how many.
        pool: random members to choose from; published networks in the space join them.
        seed: of the pool.
        report: told of progress.
    """
    members = _pool(space, pool, seed)
    rows = []
    for number, architecture in enumerate(members):
        rows.append(processor.features(operators(architecture, "deploy")))
        if (number + 1) % 100 == 0:
            report(f"priced {number + 1} of {len(members)} candidates")
    order = greedy(np.asarray(rows), min(size, len(members)))
    return tuple(members[i] for i in order)


def greedy(features: Array, size: int) -> list[int]:
    """Return the rows to measure, the most telling first.

    Args:
        features: totals of every candidate, (n, J); the column of the run is set here.
        size: how many to choose; the most expensive quarter is not considered.
    """
    prior = processor_prior()
    costs = processor.of_network(features) * prior.price
    costs[:, 0] = prior.price[0]
    total = costs.sum(axis=1)
    shares = costs / total[:, None]
    allowed = total <= np.quantile(total, MAX_COST_QUANTILE)
    if allowed.sum() < size:
        allowed[np.argsort(total)[:size]] = True
    covariance = prior.covariance.copy()
    chosen: list[int] = []
    while len(chosen) < size:
        across = shares @ covariance @ shares.T
        own = np.diag(across)
        gain = (across**2).sum(axis=0) / (own + _DESIGN_NOISE**2)
        gain[~allowed] = -1.0
        best = int(np.argmax(gain))
        allowed[best] = False
        chosen.append(best)
        direction = covariance @ shares[best]
        covariance -= np.outer(direction, direction) / (own[best] + _DESIGN_NOISE**2)
    return chosen


def check_name(device: str) -> None:
    """Check a table's name.

    Raises:
        UserError: where it is not lower case, digits and dashes.
    """
    if not device or slug(device) != device:
        raise UserError(
            f"--device: {device!r} is not a table name; use lower case, digits and dashes, such as "
            f"{slug(device) or 'my-phone'}"
        )


def write_kit(
    device: str,
    space: SearchSpace,
    folder: Path,
    size: int = SIZE,
    pool: int = POOL,
    seed: int = 0,
    report: Report = print,
) -> Kit:
    """Choose networks and write them with all that is needed to measure them.

    Args:
        device: name of the table to be.
        space: whose networks will be predicted.
        folder: to be made; an empty one is taken.
        size: how many networks.
        pool: how many to choose from.
        seed: of the choice and the weights.
        report: told of progress.

    Raises:
        UserError: where the device's name is no table's name, or the folder is not empty.
    """
    check_name(device)
    if not folder.name:  # ".", "/" or nothing
        raise UserError(f"--out: {folder} is no name of a new folder; give one")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"--out: {folder} exists and is not empty; name another, or remove it")
    part = folder.with_name(f".{folder.name}.part")
    packages = find_spec("coremltools") is not None
    report(f"choosing {size} networks of {space.name} among {pool}")
    chosen = choose(space, size, pool, seed, report)
    try:
        shutil.rmtree(part, ignore_errors=True)
        for name in (ARCHITECTURES, MODELS, *([PACKAGES] if packages else [])):
            (part / name).mkdir(parents=True)
        for index, architecture in enumerate(chosen):
            _write_network(part, index, architecture, packages, seed)
            report(f"wrote network {index + 1} of {len(chosen)}")
        (part / GUIDE).write_text(
            kit_guide.page(device, space.name, len(chosen), FIRST, packages), encoding="utf-8"
        )
        shutil.copyfile(kit_runner.__file__, part / RUNNER)
        for script in SCRIPTS:
            shutil.copyfile(Path(__file__).with_name(script), part / script)
        _write_csv(part / CSV, device, chosen)
        if folder.exists():
            folder.rmdir()
        part.replace(folder)
    except OSError as error:
        raise UserError(f"--out: cannot write {folder}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    formats = ("onnx", "coreml") if packages else ("onnx",)
    return Kit(folder, chosen, folder / CSV, formats)


def _write_network(
    folder: Path, index: int, architecture: Architecture, packages: bool, seed: int
) -> None:
    # torch is slow to import, and choosing needs none of it.
    from effsearch.export.as_trained import as_trained
    from effsearch.export.files import write_export
    from effsearch.export.request import ExportRequest
    from effsearch.onnx_io.onnx_files import to_onnx

    path = folder / ARCHITECTURES / f"{index:02d}.yaml"
    architecture.to_yaml(path)
    model = to_onnx(as_trained(architecture, seed + index))
    (folder / MODELS / f"{index:02d}.onnx").write_bytes(model.SerializeToString())
    if packages:
        out = folder / PACKAGES / f"{index:02d}.mlpackage"
        write_export(
            ExportRequest(
                str(path), "coreml", out, num_classes=1000, seed=seed + index, input="tensor"
            )
        )


def _write_csv(path: Path, device: str, chosen: Sequence[Architecture]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        for key in HEADER_KEYS:
            file.write(f"# {key}: {device if key == 'device' else ''}".rstrip() + "\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for index, architecture in enumerate(chosen):
            writer.writerow([index, f"{MODELS}/{index:02d}.onnx", architecture.digest(), "", ""])


def _pool(space: SearchSpace, count: int, seed: int) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    found = {a.digest(): a for name in zoo.names() if (a := zoo.load(name)) in space}
    tries = 0
    while len(found) < count and tries < 20 * count:
        architecture = space.sample(rng)
        found.setdefault(architecture.digest(), architecture)
        tries += 1
    return list(found.values())
