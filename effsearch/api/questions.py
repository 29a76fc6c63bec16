"""`predict`, `score`, `measure` and `devices`: questions on one network, or on the tables."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from effsearch.accuracy.registry import DEFAULT, load_source, read_options
from effsearch.accuracy.score import Score, ScoreSource
from effsearch.latency.overview import summaries
from effsearch.latency.table import DeviceTable, Prediction
from effsearch.latency.timing.measure import Measurement, measure_ms
from effsearch.latency.timing.runtimes import find_runtime
from effsearch.targets import Target, check_task, load_target
from searchspace import Architecture, UserError

NamedNetwork = str | Path | Architecture


def predict(network: NamedNetwork, device: str | Path) -> Prediction:
    """Return the latency of a network for one image, with its uncertainty and where it goes.

    Args:
        network: an architecture, or what names one: a published network, a YAML file, a winner's
            folder, a checkpoint, `RUN#NUMBER`, or an ONNX file.
        device: name of a latency table, or its file.

    Raises:
        UserError: where there is no such network or table.
    """
    return predicted(DeviceTable.load(device), _target(network))


def score(network: NamedNetwork, source: str = DEFAULT, **options: Any) -> Score:
    """Return the accuracy score of a network, with its standard deviation.

    Args:
        network: as for `predict`.
        source: name of the score source.
        options: what the source takes, as the flags of `effsearch score`.

    Raises:
        UserError: where there is no such network or source, or the source can't score it.
    """
    chosen, target = load_source(source, read_options(source, options)), _target(network)
    check_members(chosen, [target])
    return scored(chosen, target)


def measure(
    network: NamedNetwork,
    threads: int = 1,
    seconds: float = 1.0,
    runtime: str = "onnxruntime",
    precision: str | None = None,
) -> Measurement:
    """Run a network on this machine and return its median latency for one image.

    Args:
        network: as for `predict`.
        threads: of one operator.
        seconds: time for one attempt.
        runtime: what runs it.
        precision: of its arithmetic; the runtime's usual one where None.

    Raises:
        UserError: where there is no such network or runtime, or too few cores.
    """
    model = _target(network).model
    return measure_ms(model, threads, seconds=seconds, runtime=find_runtime(runtime, precision))


def devices() -> list[dict[str, Any]]:
    """Return a row for every latency table: name, kind, runtime, held-out error and more."""
    return summaries()


def predicted(table: DeviceTable, target: Target) -> Prediction:
    """Return a table's prediction; that of an ONNX file from its operators."""
    if target.architecture is not None:
        return table.predict(target.architecture)
    return table.predict_operators(target.operators())


def scored(source: ScoreSource, target: Target) -> Score:
    """Return a target's score; that of an ONNX file from its graph."""
    if isinstance(target.model, Architecture):
        return source.score(target.model)
    return source.score_graph(target.model)


def check_members(source: ScoreSource, targets: Iterable[Target]) -> None:
    """Check that a source can score all targets, before any is scored.

    Raises:
        UserError: names the first that is for another task, or not in its space.
    """
    for target in targets:
        if target.architecture is None:
            continue
        check_task(target.label, target.architecture, source.task)
        if source.space is not None and target.architecture not in source.space:
            raise UserError(
                f"{target.label}: not in the space {source.space.name} of the {source.name}"
            )


def _target(network: NamedNetwork) -> Target:
    if isinstance(network, Architecture):
        return Target(network.name or network.digest(), network, None)
    return load_target(str(network))
