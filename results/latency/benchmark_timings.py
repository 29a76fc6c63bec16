"""Latencies of a host benchmark's networks, measured beside the references and kept in a file."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from effsearch.latency.machine_speed import REFERENCE, MachineSpeed
from effsearch.latency.profile.batch import prepare
from effsearch.latency.profile.session import MOVED_LIMIT, calm_reference_ms
from effsearch.latency.timing.machine import cores
from effsearch.latency.timing.runtime import Runtime
from effsearch.latency.timing.with_references import measure_with_references
from searchspace import Architecture, zoo

BATCH = 20
ATTEMPTS = 3


@dataclass(frozen=True)
class Timed:
    """One network's latency, and the machine's speed meanwhile."""

    median_ms: float
    spread: float
    runs: int
    noisy: bool
    speed: MachineSpeed

    def better_than(self, other: Timed) -> bool:
        """Whether the machine was calmer than at another measurement of the network."""
        slower = self.speed.reference_ms / other.speed.reference_ms - 1
        if abs(slower) > MOVED_LIMIT:
            return slower < 0
        return self.spread < other.spread


class Timings:
    """Measurements in a file, so that an interrupted benchmark goes on where it stopped.

    Args:
        path: the file, JSON lines; None to keep nothing.
        way: how networks are run: threads, runtime, precision; lines of other ways don't count.
    """

    def __init__(self, path: Path | None, way: Mapping[str, Any]) -> None:
        self.path, self.way = path, way
        self.found: dict[str, Timed] = {}
        lines = path.read_text("utf-8").splitlines() if path and path.exists() else []
        for body in map(json.loads, lines):
            if all(body.get(key) == value for key, value in way.items()):
                speed = MachineSpeed(**body["speed"])
                rest = {k: body[k] for k in ("median_ms", "spread", "runs", "noisy")}
                self.found[body["network"]] = Timed(speed=speed, **rest)

    def open(self, digests: Iterable[str], again: bool) -> list[str]:
        """Return which networks to measure: those not yet measured, or also those to repeat.

        Args:
            digests: of all networks.
            again: whether to repeat those that came out noisy, and those measured while the
                reference network was slow.
        """
        known = [t.speed.reference_ms for t in self.found.values()]
        limit = (1 + MOVED_LIMIT) * calm_reference_ms(known) if known else 0.0
        return [
            d
            for d in digests
            if d not in self.found
            or (again and (self.found[d].noisy or self.found[d].speed.reference_ms > limit))
        ]

    def add(self, network: str, timed: Timed) -> None:
        """Keep one, in place of an earlier one of the same network."""
        self.found[network] = timed
        if self.path:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                body = {"network": network, **self.way, **asdict(timed)}
                file.write(json.dumps(body) + "\n")


def measure_all(
    networks: Sequence[Architecture], threads: int, work: Path | None, runtime: Runtime
) -> list[Timed]:
    """Return each network's latency with the machine's speed meanwhile.

    Graphs are prepared while nothing is timed. The networks of a batch take turns; those that come
    out noisy, or while the references say that the machine was slow, are measured up to twice more,
    and the calmest counts.
    """
    own = runtime.identity()
    precision = own["precision"]
    way = {"threads": threads, "runtime": own["runtime"], "precision": precision}
    timings = Timings(work, way)
    by_digest = {a.digest(): a for a in networks}
    folder = Path(tempfile.mkdtemp(prefix="effsearch-benchmark-"))
    try:
        with ProcessPoolExecutor(cores(), mp_context=get_context("spawn")) as pool:
            reference = folder / "reference.onnx"
            pool.submit(prepare, zoo.load(REFERENCE).to_dict(), reference, precision).result()
            for attempt in range(ATTEMPTS):
                found = timings.found
                open_ = timings.open(by_digest, again=attempt > 0)
                for start in range(0, len(open_), BATCH):
                    batch = open_[start : start + BATCH]
                    paths = [folder / f"{digest}.onnx" for digest in batch]
                    jobs = [
                        pool.submit(prepare, by_digest[digest].to_dict(), path, precision)
                        for digest, path in zip(batch, paths, strict=True)
                    ]
                    for job in jobs:
                        job.result()
                    measured = measure_with_references(paths, reference, threads, runtime=runtime)
                    for digest, m in zip(batch, measured.measurements, strict=True):
                        one = Timed(m.median_ms, m.relative_error, m.runs, m.noisy, measured.speed)
                        if digest not in found or one.better_than(found[digest]):
                            timings.add(digest, one)
                    for path in paths:
                        path.unlink()
                    print(f"{len(found)} of {len(by_digest)} measured", file=sys.stderr)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [timings.found[a.digest()] for a in networks]
