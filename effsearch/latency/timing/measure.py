"""How long a network takes on this machine, on one of the runtimes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from effsearch.latency.timing.machine import check_threads
from effsearch.latency.timing.runtime import Model, Runtime
from effsearch.latency.timing.runtimes import find_runtime

WARM_UP_RUNS = 3
MIN_RUNS = 15
MAX_RUNS = 400
PARTS_OF_DRIFT = 3
PARTS_OF_ERROR = 10
NOISE_LIMIT = 0.03


@dataclass(frozen=True)
class Measurement:
    """Latency of one network for one image, measured here.

    Attributes:
        median_ms: median over all runs.
        runs: their number, warm-up aside.
        threads: threads of one operator.
        relative_error: standard error of the median, over the median.
        low_ms: 10th percentile of the runs.
        high_ms: 90th percentile.
        noisy: whether the machine was not quiet enough for the number to be relied on.
        at_table_speed_ms: the median as it would be at the speed at which a table was measured,
            by references that took turns with the network; None where there were none.
    """

    median_ms: float
    runs: int
    threads: int
    relative_error: float
    low_ms: float
    high_ms: float
    noisy: bool
    at_table_speed_ms: float | None = None


def measure_ms(
    model: Model,
    threads: int = 1,
    *,
    seconds: float = 1.0,
    attempts: int = 3,
    runtime: Runtime | None = None,
) -> Measurement:
    """Return the median latency of a network for one image on this machine.

    After a warm-up, runs go on until `seconds` are over, 15 at least and 400 at most. Where they
    drift by more than the limit, the machine was not quiet, and the network is measured again; the
    calmest attempt counts.

    Args:
        model: an architecture, which is run in its deployed form with fresh weights, an ONNX
            file, or the bytes of one.
        threads: of one operator.
        seconds: time for one attempt.
        attempts: how often to try for a calm one.
        runtime: what runs it; the default one where None.

    Raises:
        UserError: where the runtime does not take the model, or threads exceed the cores.
    """
    check_threads(threads)
    opened = (runtime or find_runtime()).open(model, threads)
    run = partial(opened.run, opened.random_inputs())
    best: list[float] = []
    for _ in range(max(1, attempts)):
        times_ms = time_runs(run, seconds)
        if not best or drift(times_ms) < drift(best):
            best = times_ms
        if drift(best) <= NOISE_LIMIT:
            break
    return summarise(best, threads)


def time_runs(
    run: Callable[[], object],
    seconds: float,
    min_runs: int = MIN_RUNS,
    max_runs: int = MAX_RUNS,
    warm_up: int = WARM_UP_RUNS,
) -> list[float]:
    """Return the duration in ms of each of many runs, warm-up left out.

    Args:
        run: runs the network once.
        seconds: how long to go on.
        min_runs: runs at least, however long they take.
        max_runs: runs at most.
        warm_up: runs before, not timed.
    """
    for _ in range(warm_up):
        run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < min_runs or (time.perf_counter() < end and len(times) < max_runs):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def drift(times_ms: Sequence[float]) -> float:
    """Return how far runs, in the order they were made, drifted or were disturbed; relative.

    That is how far the medians of the first, middle and last runs lie apart, or how far the median
    lies above the 10th percentile, whichever is more.
    """
    values = np.asarray(times_ms)
    median = float(np.median(values))
    parts = [float(np.median(part)) for part in np.array_split(values, PARTS_OF_DRIFT)]
    return max((max(parts) - min(parts)) / median, median / float(np.quantile(values, 0.1)) - 1)


def median_error(values: Sequence[float]) -> float:
    """Return the relative standard error of a median, from the values' quartiles."""
    lower, middle, upper = np.quantile(values, [0.25, 0.5, 0.75])
    # The median of normal values errs by 1.25 deviations over the root of their number.
    return float(1.25 * (upper - lower) / 1.349 / middle / np.sqrt(len(values)))


def summarise(times_ms: Sequence[float], threads: int) -> Measurement:
    """Return the median of runs in the order they were made, with its error.

    Neighbouring runs are disturbed together, so the error is that of medians of a few parts.

    Args:
        times_ms: of each run.
        threads: of one operator.
    """
    values = np.asarray(times_ms)
    parts = np.array_split(values, min(PARTS_OF_ERROR, len(values)))
    low, median, high = (float(q) for q in np.quantile(values, [0.1, 0.5, 0.9]))
    error = median_error([float(np.median(part)) for part in parts])
    return Measurement(
        median, len(values), threads, error, low, high, drift(times_ms) > NOISE_LIMIT
    )
