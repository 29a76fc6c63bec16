"""Networks timed in turns, each as it is and under the runtime's profiler."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from effsearch.latency.machine_speed import MachineSpeed
from effsearch.latency.timing.interleaved import (
    TimedTurn,
    TurnTaker,
    calm_turns,
    summarise,
    take_turn,
    take_turns,
)
from effsearch.latency.timing.measure import Measurement
from effsearch.latency.timing.models import serialised
from effsearch.latency.timing.references import ReferenceProbe, runner
from effsearch.latency.timing.runtime import OperatorTimes, Runtime
from effsearch.latency.timing.runtimes import find_runtime
from effsearch.precisions import FLOAT32, INT8
from searchspace import Architecture, operators
from searchspace.operators import from_graph

SECONDS_PER_NETWORK = 0.9  # a network with short turns takes more of them
SECONDS_PER_TURN = 0.025
SECONDS_PROFILED = 0.01
MIN_RUNS = 2
PROFILED_RUNS = 3
MIN_ROUNDS, MAX_ROUNDS = 5, 12
NETWORK_NOISE_LIMIT = 0.08  # standard error of a network's latency


@dataclass(frozen=True)
class Prepared:
    """A network's file, and the names that the runtime's kernels derive from."""

    path: Path
    operators: tuple[Any, ...]


def prepare(architecture: dict[str, Any], path: Path, precision: str = FLOAT32) -> Prepared:
    """Write a network's ONNX file; runs in a process of its own.

    Args:
        architecture: the network.
        path: of the file.
        precision: `int8` writes it quantised, which takes seconds.

    Raises:
        RuntimeError: where the file's operators are not those that the architecture is priced by.
    """
    import torch

    from effsearch.export.as_trained import as_trained
    from effsearch.onnx_io.onnx_files import to_onnx
    from effsearch.onnx_io.reading import read_graph

    torch.set_num_threads(1)
    network = Architecture.from_dict(architecture)
    path.write_bytes(to_onnx(as_trained(network)).SerializeToString())
    found = from_graph(read_graph(path))
    priced = operators(network, "deploy")
    if [o.op for o in found] != [o.op for o in priced]:
        raise RuntimeError(f"{path.name}: exported operators differ from those priced")
    if precision == INT8:
        data = serialised(path.read_bytes(), precision)
        assert isinstance(data, bytes)
        path.write_bytes(data)
    return Prepared(path, found)


class ProfiledTurnTaker(TurnTaker):
    """A network that takes each turn as it is, and then under the runtime's profiler.

    Args:
        item: the network.
        threads: of one operator.
        runtime: what runs it; the default one where None.
    """

    def __init__(self, item: Prepared, threads: int, runtime: Runtime | None = None) -> None:
        model = item.path.read_bytes()
        run = runner(model, threads, runtime)
        self.item = item
        self.opened = (runtime or find_runtime()).open(model, threads, profiled=True, rests=True)
        self.inputs = self.opened.random_inputs()
        self.profiled: list[TimedTurn] = []
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
        return self.opened.run(self.inputs)

    def operator_times(self, calm: Sequence[bool]) -> OperatorTimes:
        """Return ms and kernels of each operator, over the runs that were left alone."""
        skip: list[int] = []
        number = 0
        for turn, good in zip(self.profiled, calm, strict=True):
            skip.append(number)  # the first finds cold caches
            skip += [number + 1 + i for i, kept in enumerate(turn.kept) if not (kept and good)]
            number += 1 + len(turn.kept)
        if len(skip) >= number:
            skip = []
        return self.opened.profile(self.item.operators, skip)


@dataclass(frozen=True)
class Batch:
    """What was measured of networks that took turns.

    Attributes:
        speed: the machine's, meanwhile.
        error: relative standard error of the reference network's latency.
        calm: share of the turns that count.
        networks: each network's latency, and its operators' ms and kernels under the profiler.
    """

    speed: MachineSpeed
    error: float
    calm: float
    networks: list[tuple[Measurement, list[float], list[int]]]


def measure_batch(
    reference: Prepared, items: Sequence[Prepared], threads: int, runtime: Runtime | None = None
) -> Batch:
    """Measure networks in turns, each as it is and profiled, and the references between turns.

    Args:
        reference: the reference network.
        items: the networks.
        threads: of one operator.
        runtime: what runs them; the default one where None.
    """
    probe = ReferenceProbe(reference.path, threads, runtime)
    takers = [ProfiledTurnTaker(item, threads, runtime) for item in items]
    speed, error = take_turns(takers, probe)
    calm = calm_turns(takers)
    return Batch(
        speed,
        error,
        float(np.mean([good for turns in calm for good in turns])),
        [
            (summarise(s, good, threads, NETWORK_NOISE_LIMIT), *s.operator_times(good))
            for s, good in zip(takers, calm, strict=True)
        ],
    )
