"""Networks measured beside the references, so that the machine's speed is known with each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from effsearch.latency.models.measured import MeasuredTable
from effsearch.latency.table import DeviceTable
from effsearch.latency.timing.interleaved import Subject, calm_turns, summarise, take_turns
from effsearch.latency.timing.machine_speed import REFERENCE, Speed
from effsearch.latency.timing.measure import NOISE_LIMIT, Measurement
from effsearch.latency.timing.onnx_runtime import check_threads, with_weights
from effsearch.latency.timing.references import Pace, runner
from effsearch.onnx_io.onnx_files import read_graph, to_onnx
from searchspace import Architecture, UserError, build, operators, zoo
from searchspace.operators import from_graph

SECONDS_PER_TURN = 0.04
MIN_RUNS = 2
MIN_ROUNDS, MAX_ROUNDS = 5, 15


@dataclass(frozen=True)
class Beside:
    """What networks took that took turns, and how fast the machine was meanwhile.

    Attributes:
        measurements: of the networks.
        speed: the machine's.
        error: relative standard error of the reference network's latency.
        calm: share of the turns that were undisturbed; the others don't count.
    """

    measurements: tuple[Measurement, ...]
    speed: Speed
    error: float
    calm: float


def measure_beside(
    models: Sequence[Path | bytes],
    reference: Path | bytes,
    threads: int,
    seconds: float = 0.8,
    noise_limit: float = NOISE_LIMIT,
) -> Beside:
    """Measure networks in turns with one another and with the references.

    Args:
        models: ONNX files, or serialised models.
        reference: the reference network's.
        threads: of one operator.
        seconds: about how long to run each network.
        noise_limit: highest relative standard error of a latency that is not noisy.

    Raises:
        UserError: where ONNX Runtime does not take a model.
    """
    pace = Pace(reference, threads)
    subjects = [_subject(runner(model, threads), seconds) for model in models]
    speed, error = take_turns(subjects, pace)
    calm = calm_turns(subjects)
    return Beside(
        tuple(
            summarise(s, good, threads, noise_limit) for s, good in zip(subjects, calm, strict=True)
        ),
        speed,
        error,
        float(np.mean([good for turns in calm for good in turns])),
    )


class BesideTable:
    """Measures networks beside a table's references, so that both can be held against each other.

    Args:
        table: a table that `effsearch profile` made on this machine.

    Raises:
        UserError: where the table does not say what its references took.
    """

    def __init__(self, table: DeviceTable) -> None:
        model = table.model
        if not isinstance(model, MeasuredTable) or model.speed is None:
            raise UserError(
                f"{table.name}: not measured by `effsearch profile`, so nothing here says how "
                "fast its machine was"
            )
        self.table, self.model, self.usual = table, model, model.speed
        self.threads = int(table.meta["threads"])

    @cached_property
    def reference(self) -> bytes:
        """The reference network's file."""
        return _exported(zoo.load(REFERENCE))

    def __call__(
        self, target: Architecture | Path, threads: int | None = None, seconds: float = 1.0
    ) -> Measurement:
        """Return a network's latency, now and at the table's speed.

        Args:
            target: an architecture or an ONNX file.
            threads: of one operator; the table's where None.
            seconds: about how long to run it.

        Raises:
            UserError: where threads are not the table's, or the file is no model.
        """
        if threads not in (None, self.threads):
            raise UserError(f"threads: {threads}, but {self.table.name} is of {self.threads}")
        check_threads(self.threads)
        if isinstance(target, Architecture):
            model: bytes | Path = _exported(target)
            parts = operators(target, "deploy")
        else:
            model = with_weights(target)
            parts = from_graph(read_graph(target))
        found = measure_beside([model], self.reference, self.threads, seconds)
        slower = self.model.slower(self.model.features(parts)[None], found.speed)
        (one,) = found.measurements
        return replace(one, at_table_speed_ms=one.median_ms / float(slower[0]))


def _exported(architecture: Architecture) -> bytes:
    return bytes(to_onnx(build(architecture)).SerializeToString())


def _subject(run: Callable[[], object], seconds: float) -> Subject:
    for _ in range(2):
        run()
    start = time.perf_counter()
    run()
    one = time.perf_counter() - start
    turn = max(SECONDS_PER_TURN, MIN_RUNS * one) + one
    rounds = int(np.clip(seconds / turn, MIN_ROUNDS, MAX_ROUNDS))
    return Subject(run, rounds, SECONDS_PER_TURN, MIN_RUNS)
