"""Networks measured in turns with the references, so that the machine's speed is known too."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.latency.cost_model import SpeedModel
from effsearch.latency.machine_speed import REFERENCE, MachineSpeed
from effsearch.latency.table import DeviceTable
from effsearch.latency.timing.interleaved import TurnTaker, calm_turns, summarise, take_turns
from effsearch.latency.timing.machine import check_threads
from effsearch.latency.timing.measure import NOISE_LIMIT, Measurement
from effsearch.latency.timing.references import ReferenceProbe, runner
from effsearch.latency.timing.runtime import Model, Runtime
from effsearch.latency.timing.runtimes import find_runtime
from effsearch.onnx_io.reading import read_graph
from searchspace import Architecture, UserError, operators, zoo
from searchspace.operators import from_graph

SECONDS_PER_TURN = 0.04
MIN_RUNS = 2
MIN_ROUNDS, MAX_ROUNDS = 5, 15


@dataclass(frozen=True)
class TimedNetworks:
    """Latencies of networks that took turns, and the machine's speed meanwhile.

    Attributes:
        measurements: of the networks.
        speed: the machine's.
        error: relative standard error of the reference network's latency.
        calm: share of the turns that were undisturbed; the others don't count.
    """

    measurements: tuple[Measurement, ...]
    speed: MachineSpeed
    error: float
    calm: float


def measure_with_references(
    models: Sequence[Model],
    reference: Model,
    threads: int,
    seconds: float = 0.8,
    runtime: Runtime | None = None,
) -> TimedNetworks:
    """Measure networks in turns with one another and with the references.

    Args:
        models: architectures, ONNX files, or the bytes of such.
        reference: the reference network.
        threads: of one operator.
        seconds: about how long to run each network.
        runtime: what runs them; the default one where None.

    Raises:
        UserError: where the runtime does not take a model.
    """
    probe = ReferenceProbe(reference, threads, runtime)
    takers = [_taker(runner(model, threads, runtime), seconds) for model in models]
    speed, error = take_turns(takers, probe)
    calm = calm_turns(takers)
    return TimedNetworks(
        tuple(
            summarise(s, good, threads, NOISE_LIMIT) for s, good in zip(takers, calm, strict=True)
        ),
        speed,
        error,
        float(np.mean([good for turns in calm for good in turns])),
    )


class TableSpeedTimer:
    """Measures networks with the references, and says what that is at a table's speed.

    Args:
        table: a table that `effsearch profile` made on this machine.
        runtime: what runs networks; the default one where None.

    Raises:
        UserError: where the table does not say what its references took, or is of another runtime
            or precision.
    """

    def __init__(self, table: DeviceTable, runtime: Runtime | None = None) -> None:
        model = table.model
        if not isinstance(model, SpeedModel) or model.speed is None:
            raise UserError(
                f"{table.name}: not measured by `effsearch profile`, so nothing here says how "
                "fast its machine was"
            )
        there, here = _run_on(table.meta), _run_on((runtime or find_runtime()).identity())
        if here != there:
            raise UserError(
                f"{table.name}: is of {there}; its speed says nothing of {here}; use the table's "
                "runtime and precision, or no table"
            )
        self.table, self.model, self.usual = table, model, model.speed
        self.runtime = runtime
        self.threads = int(table.meta["threads"])

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
            parts = operators(target, "deploy")
        else:
            parts = from_graph(read_graph(target))
        found = measure_with_references(
            [target], zoo.load(REFERENCE), self.threads, seconds, runtime=self.runtime
        )
        slower = self.model.slower(self.model.features(parts)[None], found.speed)
        (one,) = found.measurements
        return replace(one, at_table_speed_ms=one.median_ms / float(slower[0]))


def _run_on(meta: Mapping[str, Any]) -> str:
    return f"{meta.get('runtime')} in {meta.get('precision')}"


def _taker(run: Callable[[], object], seconds: float) -> TurnTaker:
    for _ in range(2):
        run()
    start = time.perf_counter()
    run()
    one = time.perf_counter() - start
    turn = max(SECONDS_PER_TURN, MIN_RUNS * one) + one
    rounds = int(np.clip(seconds / turn, MIN_ROUNDS, MAX_ROUNDS))
    return TurnTaker(run, rounds, SECONDS_PER_TURN, MIN_RUNS)
