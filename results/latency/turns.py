"""Networks that take turns on this machine, so that its speed is the same for all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from effsearch.latency.timing.interleaved import take_turn
from effsearch.latency.timing.runtime import Model
from effsearch.latency.timing.runtimes import find_runtime


def medians_in_turns(
    models: Mapping[str, Model], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Returns the median latency of each turn in ms, by network: ONNX Runtime, 1 thread, 1 image.

    Args:
        models: the networks by name.
        rounds: turns of each.
        seconds: least length of a turn.
    """
    runs = {}
    for name, model in models.items():
        session = find_runtime("onnxruntime").open(model, threads=1)
        runs[name] = partial(session.run, session.random_inputs())
    medians: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, run in runs.items():
            medians[name].append(take_turn(run, seconds).median_ms)
    return medians
