"""`effsearch profile`: run networks of a space here, kernel by kernel, and make a table of them.

Whole networks are run, because blocks measured alone mislead: the runtime fuses kernels and changes
layouts across their borders. Each network is timed as it is, and once more under ONNX Runtime's
profiler. Raw measurements are appended to a file as they come, so that an interrupted profile
goes on where it stopped.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.errors import WorkFailedError
from effsearch.latency.hardware import measure_peak
from effsearch.latency.kernels import credit, read_profile
from effsearch.latency.measure import Measurement
from effsearch.latency.record import Record
from effsearch.latency.runtime import (
    check_threads,
    cores,
    host,
    random_feeds,
    session,
    slug,
)
from effsearch.latency.speed import REFERENCE, Speed
from effsearch.latency.tables import user_folder
from effsearch.latency.turns import (
    Pace,
    Subject,
    Turn,
    calm_turns,
    runner,
    summarise,
    take_turn,
    take_turns,
)
from searchspace import Architecture, SearchSpace, UserError, build, operators, zoo
from searchspace.operators import from_graph
from searchspace.units import Unit, units

BATCH = 16
SECONDS_PER_NETWORK = 0.9  # a network with short turns takes more of them
SECONDS_PER_TURN = 0.025
SECONDS_PROFILED = 0.01
MIN_RUNS = 2
PROFILED_RUNS = 3
MIN_ROUNDS, MAX_ROUNDS = 5, 12
NETWORK_NOISE_LIMIT = 0.08  # standard error of a network's latency
BATCH_NOISE_LIMIT = 0.03  # and of the reference network's
MOVED_LIMIT = 0.25  # less than that is taken out by the references
LEAST_CALM = 0.35  # of a batch's turns
ATTEMPTS = 2
MIN_NETWORKS = 20
MAX_MINUTES = 24 * 60
CANDIDATES = 8

Report = Callable[[str], None]


@dataclass(frozen=True)
class ProfilePlan:
    """What to measure.

    Attributes:
        device: name of the table.
        space: name or file of the space.
        minutes: time to spend measuring.
        threads: of one operator.
        zoo: whether to run the published networks as well.
        seed: which networks of the space.
    """

    device: str
    space: str = "mobile"
    minutes: float = 10.0
    threads: int = 1
    zoo: bool = True
    seed: int = 0

    def check(self) -> None:
        """Check the values.

        Raises:
            UserError: names what is wrong.
        """
        if not self.device or slug(self.device) != self.device:
            raise UserError(
                f"--device: {self.device!r} is not a table name; use lower case, digits and "
                f"dashes, such as {slug(self.device) or 'my-laptop'}"
            )
        if not 0 < self.minutes <= MAX_MINUTES:
            raise UserError(f"--minutes: {self.minutes} is not above 0 and up to {MAX_MINUTES}")
        check_threads(self.threads)


class Store:
    """Raw measurements in a folder: `plan.json` and `networks.jsonl`.

    Raises:
        UserError: where the folder holds another plan's, another machine's, or can't be written.
    """

    def __init__(self, folder: Path, plan: ProfilePlan) -> None:
        self.path = folder / "networks.jsonl"
        # Minutes may differ: more of them continue the same sequence.
        body = {k: v for k, v in asdict(plan).items() if k not in ("minutes", "device")}
        body["host"] = host()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            card = folder / "plan.json"
            if card.exists() and self.path.exists():
                found = json.loads(card.read_text("utf-8"))
                changed = [key for key in body if found.get(key) != body[key]]
                if changed:
                    raise UserError(
                        f"{folder}: holds measurements with another {' and '.join(changed)}; "
                        "give another --work folder, or remove this one"
                    )
            else:
                card.write_text(json.dumps(body, indent=2) + "\n", encoding="utf-8")
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"{folder}: cannot write measurements here: {error.strerror}") from None
        except ValueError:
            raise UserError(f"{folder}/plan.json: not JSON; remove this folder") from None

    def read(self) -> list[Record]:
        """Return what has been measured; a last line cut short by an interruption is left out."""
        records = []
        for line in self._lines():
            try:
                records.append(Record.from_dict(json.loads(line)))
            except (ValueError, KeyError, TypeError, UserError):
                continue
        return records

    def batches(self) -> tuple[int, int, int]:
        """Return how many batches were measured, how many repeats they took, and were left out."""
        found = [b for b in map(_batch_line, self._lines()) if b is not None]
        return len(found), sum(b[0] for b in found), sum(b[1] for b in found)

    def _lines(self) -> list[str]:
        return self.path.read_text("utf-8").splitlines() if self.path.exists() else []

    def append(self, records: list[Record], repeats: int = 0, left_out: bool = False) -> None:
        """Add a batch's records and how it went, on disk when this returns."""
        cut = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n" if cut and self.path.stat().st_size else "")
            for record in records:
                file.write(json.dumps(record.to_dict()) + "\n")
            file.write(json.dumps({"repeats": repeats, "left_out": left_out}) + "\n")
            file.flush()
            os.fsync(file.fileno())


def _batch_line(line: str) -> tuple[int, int] | None:
    try:
        body = json.loads(line)
        return int(body["repeats"]), int(body["left_out"])
    except (ValueError, KeyError, TypeError):
        return None


def sequence(plan: ProfilePlan) -> Iterator[Architecture]:
    """Yield the networks to run, without end: first the published ones, then the space's.

    Every third is drawn at random; the others are the candidate with the most units that none
    before it had for the time it will take, so that rare operators come up early.
    """
    seen: set[Unit] = set()
    if plan.zoo:
        for name in zoo.names():
            yield zoo.load(name)
            seen.update(p.unit for p in units(zoo.load(name)))
    space = SearchSpace.load(plan.space)
    rng = np.random.default_rng(plan.seed)
    number = 0
    while True:
        drawn = [space.sample(rng) for _ in range(1 if number % 3 == 0 else CANDIDATES)]
        fresh = [{p.unit for p in units(a)} - seen for a in drawn]
        best = max(range(len(drawn)), key=lambda i: len(fresh[i]) / _cost(drawn[i]) ** 0.5)
        seen |= fresh[best]
        yield drawn[best]
        number += 1


def _cost(architecture: Architecture) -> float:
    """Return roughly how long a network takes, in any unit: products of width at each position."""
    parts = (p.unit for p in units(architecture))
    return float(sum(u.in_width * u.width * u.side**2 for u in parts if u.role != "stem"))


@dataclass(frozen=True)
class Prepared:
    """A network's file, and the names that the runtime's kernels derive from."""

    path: Path
    operators: tuple[Any, ...]


def prepare(architecture: dict[str, Any], path: Path) -> Prepared:
    """Write a network's ONNX file; runs in a process of its own.

    Raises:
        RuntimeError: where the file's operators are not those that the architecture is priced by.
    """
    import torch

    from effsearch.export.onnx import read_graph, to_onnx

    torch.set_num_threads(1)
    network = Architecture.from_dict(architecture)
    path.write_bytes(to_onnx(build(network)).SerializeToString())
    found = from_graph(read_graph(path))
    priced = operators(network, "deploy")
    if [o.op for o in found] != [o.op for o in priced]:
        raise RuntimeError(f"{path.name}: exported operators differ from those priced")
    return Prepared(path, found)


class ProfiledSubject(Subject):
    """A network that takes each turn as it is, and then under ONNX Runtime's profiler.

    Args:
        item: the network.
        threads: of one operator.
        prefix: where the profiler writes.
    """

    def __init__(self, item: Prepared, threads: int, prefix: Path) -> None:
        model = item.path.read_bytes()
        run = runner(model, threads)
        self.item = item
        self.opened = session(model, threads, str(prefix), rests=True)
        self.feeds = random_feeds(self.opened)
        self.profiled: list[Turn] = []
        for _ in range(2):
            run()
        start = time.perf_counter()
        run()
        seconds = time.perf_counter() - start
        # A plain turn and a profiled one, each with a run that does not count.
        cost = max(SECONDS_PER_TURN, MIN_RUNS * seconds) + 2 * seconds
        cost += max(SECONDS_PROFILED, PROFILED_RUNS * seconds)
        rounds = int(np.clip(SECONDS_PER_NETWORK / cost, MIN_ROUNDS, MAX_ROUNDS))
        super().__init__(run, rounds, SECONDS_PER_TURN, MIN_RUNS)

    def take(self) -> None:
        """Take a turn plain, and one profiled."""
        super().take()
        self.profiled.append(take_turn(self._run_profiled, SECONDS_PROFILED, PROFILED_RUNS))

    def _run_profiled(self) -> object:
        return self.opened.run(None, self.feeds)

    def kernels(self, calm: Sequence[bool]) -> tuple[list[float], list[int]]:
        """Return ms and kernels of each operator, over the runs that were left alone."""
        trace = Path(self.opened.end_profiling())
        skip: list[int] = []
        number = 0
        for turn, good in zip(self.profiled, calm, strict=True):
            skip.append(number)  # the first finds cold caches
            skip += [number + 1 + i for i, kept in enumerate(turn.kept) if not (kept and good)]
            number += 1 + len(turn.kept)
        if len(skip) >= number:
            skip = []
        found = credit(read_profile(trace, skip=skip), self.item.operators)
        trace.unlink()
        return found


@dataclass(frozen=True)
class Batch:
    """What was measured of networks that took turns.

    Attributes:
        speed: the machine's, meanwhile.
        error: relative standard error of the reference network's latency.
        calm: share of the turns that count.
        networks: each network's latency, and its operators' ms and kernels under the profiler.
    """

    speed: Speed
    error: float
    calm: float
    networks: list[tuple[Measurement, list[float], list[int]]]


def measure_batch(reference: Prepared, items: Sequence[Prepared], threads: int) -> Batch:
    """Measure networks in turns, plain and profiled, beside the references."""
    with tempfile.TemporaryDirectory(prefix="effsearch-kernels-") as folder:
        pace = Pace(reference.path, threads)
        subjects = [
            ProfiledSubject(item, threads, Path(folder) / f"kernels{number}")
            for number, item in enumerate(items)
        ]
        speed, error = take_turns(subjects, pace)
        calm = calm_turns(subjects)
        return Batch(
            speed,
            error,
            float(np.mean([good for turns in calm for good in turns])),
            [
                (summarise(s, good, threads, NETWORK_NOISE_LIMIT), *s.kernels(good))
                for s, good in zip(subjects, calm, strict=True)
            ],
        )


class Profiler:
    """Measures batches of networks that take turns with a reference network.

    Args:
        plan: what to measure.
        store: where measurements go.
        report: called with progress.
    """

    def __init__(self, plan: ProfilePlan, store: Store, report: Report) -> None:
        self.plan, self.store, self.report = plan, store, report
        self.records = store.read()
        self.references = [r.reference_ms for r in self.records]

    def run(self) -> list[Record]:
        """Measure until the time is over; returns all records, those of earlier runs as well.

        Raises:
            WorkFailedError: where the machine was too noisy for a table.
        """
        start = time.monotonic()
        end = start + 60 * self.plan.minutes
        done = {r.index for r in self.records}
        if done:
            self.report(f"resuming: {len(done)} networks measured before are kept")
        folder = Path(tempfile.mkdtemp(prefix="effsearch-profile-"))
        pool = ProcessPoolExecutor(cores(), mp_context=get_context("spawn"))
        try:
            path = folder / "reference.onnx"
            reference = pool.submit(prepare, zoo.load(REFERENCE).to_dict(), path).result()
            waiting = [
                (i, a)
                for i, a in _take(sequence(self.plan), max(done, default=-1) + 1)
                if i not in done
            ]
            fresh = enumerate(sequence(self.plan))
            ahead = (pair for pair in fresh if pair[0] > max(done, default=-1))
            longest = 0.0
            while time.monotonic() + longest < end:
                begun = time.monotonic()
                batch = [waiting.pop(0) if waiting else next(ahead) for _ in range(BATCH)]
                self._batch(batch, reference, pool, folder)
                longest = max(longest, time.monotonic() - begun)
                left = max(0.0, end - time.monotonic()) / 60
                self.report(f"{len(self.records)} networks measured, {left:.1f} minutes left")
        finally:
            pool.shutdown(cancel_futures=True)
            shutil.rmtree(folder, ignore_errors=True)
        self._check_quiet()
        return self.records

    def _batch(
        self,
        batch: list[tuple[int, Architecture]],
        reference: Prepared,
        pool: ProcessPoolExecutor,
        folder: Path,
    ) -> None:
        # Graphs are prepared on all cores, then all cores rest while networks are timed: a busy
        # neighbour slows the core that measures.
        jobs = [pool.submit(prepare, a.to_dict(), folder / f"{index}.onnx") for index, a in batch]
        prepared = [job.result() for job in jobs]
        for attempt in range(ATTEMPTS):
            measured = measure_batch(reference, prepared, self.plan.threads)
            complaint = self._complaint(measured)
            if not complaint:
                break
            self.report(
                f"the machine was not quiet: {complaint}; "
                + ("measuring again" if attempt < ATTEMPTS - 1 else "leaving these networks out")
            )
        for item in prepared:
            item.path.unlink()
        if complaint:
            self.store.append([], repeats=attempt, left_out=True)
            return
        self.references.append(measured.speed.reference_ms)
        records = [
            Record(
                index,
                a,
                m.median_ms,
                m.spread,
                measured.speed.reference_ms,
                tuple(round(x, 5) for x in ms),
                tuple(kernels),
                measured.speed.product_ms,
            )
            for (index, a), (m, ms, kernels) in zip(batch, measured.networks, strict=True)
            if not m.noisy
        ]
        self.records += records
        self.store.append(records, repeats=attempt)

    def _complaint(self, batch: Batch) -> str | None:
        """Return what makes a batch no good, if anything does."""
        if batch.calm < LEAST_CALM:
            return f"only {batch.calm:.0%} of the turns were undisturbed"
        if batch.error > BATCH_NOISE_LIMIT:
            return (
                f"the reference network's latency is known to {batch.error:.1%} only "
                f"(limit {BATCH_NOISE_LIMIT:.0%})"
            )
        now = batch.speed.reference_ms
        usual = float(np.median(self.references)) if self.references else now
        moved = max(now, usual) / min(now, usual) - 1
        if moved > MOVED_LIMIT:
            return f"the reference network moved by {moved:.0%} (limit {MOVED_LIMIT:.0%})"
        return None

    def _check_quiet(self) -> None:
        batches, _, left_out = self.store.batches()
        if len(self.records) >= MIN_NETWORKS and left_out <= batches / 2:
            return
        raise WorkFailedError(
            f"no table was made: {left_out} of {batches} batches were too noisy "
            f"and {len(self.records)} networks are measured ({MIN_NETWORKS} needed). Close other "
            "programs, or give more --minutes, and run the same command again: what was measured "
            "in quiet moments is kept"
        )


def _take(networks: Iterator[Architecture], count: int) -> list[tuple[int, Architecture]]:
    return [(i, next(networks)) for i in range(count)]


def make_table(
    plan: ProfilePlan, work: Path | None, out: Path | None, report: Report
) -> dict[str, Any]:
    """Measure, fit and write a table; return what it says of itself, with `path` and `networks`.

    Args:
        plan: what to measure.
        work: folder of raw measurements; by default beside the user's tables.
        out: folder for the table; by default the user's.
        report: called with progress.

    Raises:
        UserError: where the plan can't be carried out here.
        WorkFailedError: where the machine was too noisy.
    """
    from effsearch.latency.measured_file import write_table
    from effsearch.latency.measured_fit import fit_table

    plan.check()
    SearchSpace.load(plan.space)
    target = out or user_folder()
    folder = work or user_folder().parent / "profiles" / f"{plan.device}-{plan.threads}t"
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{target}: cannot write a table here: {error.strerror}") from None
    store = Store(folder, plan)
    profiler = Profiler(plan, store, report)
    report(f"raw measurements go to {folder}; run the same command again to resume")
    records = profiler.run()
    report("measuring the machine's highest rates")
    peak = measure_peak(plan.threads)
    report(f"fitting a table to {len(records)} networks")
    references = [r.reference_ms for r in records]
    batches, repeats, left_out = store.batches()
    profile = {
        "space": plan.space,
        "zoo": plan.zoo,
        "seed": plan.seed,
        "networks": len(records),
        "reference_network": REFERENCE,
        "reference_ms": float(np.median(references)),
        "reference_spread": float(np.std(references) / np.median(references)),
        "noise_limit": BATCH_NOISE_LIMIT,
        "batches": batches,
        "batches_measured_again": repeats,
        "batches_left_out": left_out,
        "ran": sorted(r.architecture.digest() for r in records),
    }
    table = fit_table(records, peak, plan.device, plan.threads, profile)
    path = write_table(table, target)
    return {**table.card, "path": str(path), "networks": len(records)}
