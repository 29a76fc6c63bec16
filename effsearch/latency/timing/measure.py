"""`measure_ms`: how long a network takes here, on ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from effsearch.latency.timing.onnx_runtime import check_threads, random_feeds, session, with_weights
from searchspace import Architecture, UserError

WARM_UP_RUNS = 3
MIN_RUNS = 15
MAX_RUNS = 400
BLOCKS = 3
NOISE_LIMIT = 0.03


@dataclass(frozen=True)
class Measurement:
    """Latency of one network for one image, measured here.

    Attributes:
        median_ms: median over all runs.
        runs: their number, warm-up aside.
        threads: threads of one operator.
        spread: relative noise: how far the medians of the first, middle and last runs lie apart,
            or how far the median lies above the 10th percentile, whichever is more.
        low_ms: 10th percentile of the runs.
        high_ms: 90th percentile.
        noisy: whether `spread` stayed above the limit after repetitions.
        at_table_speed_ms: the median as it would be at the speed at which a table was measured,
            by references that took turns with the network; None where there were none.
    """

    median_ms: float
    runs: int
    threads: int
    spread: float
    low_ms: float
    high_ms: float
    noisy: bool
    at_table_speed_ms: float | None = None


def measure_ms(
    model: bytes | str | Path | onnx.ModelProto,
    threads: int = 1,
    *,
    seconds: float = 1.0,
    attempts: int = 3,
    noise_limit: float = NOISE_LIMIT,
) -> Measurement:
    """Return the median latency of a model on this machine.

    After a warm-up, runs go on until `seconds` are over, 15 at least and 400 at most. Where their
    spread is above the limit, the machine was not quiet, and the model is measured again; the
    calmest attempt counts.

    Args:
        model: an ONNX model, serialised, parsed or as a file.
        threads: of one operator.
        seconds: time for one attempt.
        attempts: how often to try for a calm one.
        noise_limit: highest spread of a calm one.

    Raises:
        UserError: where ONNX Runtime does not take the model, or threads exceed the cores.
    """
    check_threads(threads)
    if isinstance(model, onnx.ModelProto):
        model = model.SerializeToString()
    if isinstance(model, str | Path):
        model = with_weights(Path(model))
    opened = session(model, threads)
    feeds = random_feeds(opened)
    # Asking for the first output alone spares copies of side outputs.
    first = [opened.get_outputs()[0].name]

    def run() -> None:
        opened.run(first, feeds)

    best: Measurement | None = None
    for _ in range(max(1, attempts)):
        found = summarise(time_runs(run, seconds), threads, noise_limit)
        if best is None or found.spread < best.spread:
            best = found
        if not best.noisy:
            break
    assert best is not None
    return best


def time_runs(
    run: Callable[[], None],
    seconds: float,
    min_runs: int = MIN_RUNS,
    max_runs: int = MAX_RUNS,
    warm_up: int = WARM_UP_RUNS,
) -> list[float]:
    """Return the duration in ms of each of many runs, warm-up left out."""
    for _ in range(warm_up):
        run()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < min_runs or (time.perf_counter() < end and len(times) < max_runs):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def summarise(times_ms: list[float], threads: int, noise_limit: float = NOISE_LIMIT) -> Measurement:
    """Return median and noise of runs in the order they were made."""
    values = np.asarray(times_ms)
    median = float(np.median(values))
    blocks = [float(np.median(part)) for part in np.array_split(values, BLOCKS)]
    low, high = (float(q) for q in np.quantile(values, [0.1, 0.9]))
    spread = max((max(blocks) - min(blocks)) / median, median / low - 1)
    return Measurement(median, len(values), threads, spread, low, high, spread > noise_limit)


def measure_architecture(
    architecture: Architecture, threads: int = 1, *, seconds: float = 1.0, attempts: int = 3
) -> Measurement:
    """Return the median latency of an architecture's deployed form, with fresh weights.

    Raises:
        UserError: where threads exceed the cores.
    """
    # torch is slow to import, and files can be measured without it.
    from effsearch.onnx_io.onnx_files import to_onnx
    from searchspace import build

    check_threads(threads)
    model = to_onnx(build(architecture))
    return measure_ms(model, threads, seconds=seconds, attempts=attempts)


def measure_target(
    target: Architecture | Path, threads: int = 1, *, seconds: float = 1.0, attempts: int = 3
) -> Measurement:
    """Return the median latency of an architecture or an ONNX file.

    Raises:
        UserError: where the file is no model that ONNX Runtime takes.
    """
    if isinstance(target, Architecture):
        return measure_architecture(target, threads, seconds=seconds, attempts=attempts)
    try:
        return measure_ms(target, threads, seconds=seconds, attempts=attempts)
    except UserError as error:
        text = str(error)
        raise UserError(text if str(target) in text else f"{target}: {text}") from None
