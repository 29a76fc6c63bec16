"""`effsearch profile`: run networks of a space here, kernel by kernel, and make a table of them.

Whole networks are run, because blocks measured alone mislead: the runtime fuses kernels and changes
layouts across their borders. Each network is timed as it is, and once more under the runtime's
profiler. Raw measurements are appended to a file as they come, so that an interrupted profile
goes on where it stopped.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.errors import WorkFailedError
from effsearch.latency.catalogue import user_folder
from effsearch.latency.machine_speed import REFERENCE
from effsearch.latency.profile.batch import Batch, Prepared, measure_batch, prepare
from effsearch.latency.profile.plan import ProfilePlan, Store, sequence
from effsearch.latency.profile.profiled_network import ProfiledNetwork
from effsearch.latency.timing.machine import cores
from effsearch.latency.timing.machine_rates import measure_peak
from effsearch.latency.timing.runtimes import find_runtime
from searchspace import Architecture, SearchSpace, UserError, zoo

BATCH = 16
BATCH_NOISE_LIMIT = 0.03  # standard error of the reference network's latency
MOVED_LIMIT = 0.15  # of the reference network over its calm latency; less is corrected for
LEAST_CALM = 0.2  # of a batch's turns
ATTEMPTS = 2
MIN_NETWORKS = 20

Report = Callable[[str], None]


class Profiler:
    """Measures batches of networks that take turns with a reference network.

    Args:
        plan: what to measure.
        store: where measurements go.
        report: called with progress.
    """

    def __init__(self, plan: ProfilePlan, store: Store, report: Report) -> None:
        self.plan, self.store, self.report = plan, store, report
        self.runtime = find_runtime(plan.runtime, plan.precision)
        self.records = store.read()
        self.references = [r.reference_ms for r in self.records]

    def run(self) -> list[ProfiledNetwork]:
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
            reference = self._prepare(pool, zoo.load(REFERENCE), path).result()
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
        kept = calm_records(self.records)
        if len(kept) < len(self.records):
            self.report(
                f"{len(self.records) - len(kept)} networks are left out: the machine was slower "
                "then than it proved to be later"
            )
        return kept

    def _batch(
        self,
        batch: list[tuple[int, Architecture]],
        reference: Prepared,
        pool: ProcessPoolExecutor,
        folder: Path,
    ) -> None:
        # Graphs are prepared on all cores, then all cores rest while networks are timed: a busy
        # neighbour slows the core that measures.
        jobs = [self._prepare(pool, a, folder / f"{index}.onnx") for index, a in batch]
        prepared = [job.result() for job in jobs]
        for attempt in range(ATTEMPTS):
            measured = measure_batch(reference, prepared, self.plan.threads, self.runtime)
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
            ProfiledNetwork(
                index,
                a,
                m.median_ms,
                m.relative_error,
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

    def _prepare(
        self, pool: ProcessPoolExecutor, architecture: Architecture, path: Path
    ) -> Future[Prepared]:
        as_run = partial(prepare, precision=self.runtime.identity()["precision"])
        return pool.submit(as_run, architecture.to_dict(), path)

    def _complaint(self, batch: Batch) -> str | None:
        """Return what makes a batch no good, if anything does."""
        if batch.calm < LEAST_CALM:
            return f"only {batch.calm:.0%} of the turns were undisturbed"
        if batch.error > BATCH_NOISE_LIMIT:
            return (
                f"the reference network's latency is known to {batch.error:.1%} only "
                f"(limit {BATCH_NOISE_LIMIT:.0%})"
            )
        # A batch faster than those before says that those were slow; `calm_records` sees to them.
        now = batch.speed.reference_ms
        slower = now / calm_reference_ms(self.references or [now]) - 1
        if slower > MOVED_LIMIT:
            return f"the reference network was slower by {slower:.0%} (limit {MOVED_LIMIT:.0%})"
        return None

    def _check_quiet(self) -> None:
        batches, _, left_out = self.store.batches()
        if len(calm_records(self.records)) >= MIN_NETWORKS and left_out <= batches / 2:
            return
        raise WorkFailedError(
            f"no table was made: {left_out} of {batches} batches were too noisy "
            f"and {len(self.records)} networks are measured ({MIN_NETWORKS} needed). Close other "
            "programs, or give more --minutes, and run the same command again: what was measured "
            "in quiet moments is kept"
        )


def calm_reference_ms(references: Sequence[float]) -> float:
    """Return what the reference network takes in the calmer batches or networks."""
    return float(np.quantile(references, 0.25, method="lower"))


def calm_records(records: Sequence[ProfiledNetwork]) -> list[ProfiledNetwork]:
    """Return those measured while the machine was about as fast as in its calmer moments."""
    if not records:
        return []
    limit = (1 + MOVED_LIMIT) * calm_reference_ms([r.reference_ms for r in records])
    return [r for r in records if r.reference_ms <= limit]


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
    from effsearch.latency.models.measured_file import write_table
    from effsearch.latency.profile.fit import fit_table

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
    peak = measure_peak(plan.threads, runtime=profiler.runtime)
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
        "networks_left_out": len(profiler.records) - len(records),
        "ran": sorted(r.architecture.digest() for r in records),
    }
    table = fit_table(records, peak, plan.device, plan.threads, profile, profiler.runtime)
    path = write_table(table, target)
    return {**table.card, "path": str(path), "networks": len(records)}
