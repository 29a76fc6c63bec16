"""OpenVINO's own counters of what it executes, credited to the operators that it carries out.

Each node of the executed graph names the operators that were fused into it. Its time goes to the
first of them that is a product, or else to the first of all; the others run inside it and get none.
A reorder of memory names none, and goes to what runs next.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from effsearch.latency.timing.kernels import NODE, add_up
from effsearch.latency.timing.runtime import OperatorTimes
from searchspace import Operator

if TYPE_CHECKING:
    import openvino

_PRODUCTS = ("conv", "pointwise_conv", "depthwise_conv", "grouped_conv", "linear", "matmul")
# A norm loses its name when it is taken apart; one node of these types is left of each.
_NORM_NODES = ("MVN", "RMS", "GroupNormalization")
_MICROSECOND = datetime.timedelta(microseconds=1)
_CUT_US = 0.5  # what is lost on average where a time is cut to whole microseconds


@dataclass(frozen=True)
class ExecutedNode:
    """A node that OpenVINO executed.

    Attributes:
        type: OpenVINO's.
        names: of the operators that it carries out; none where OpenVINO inserted it.
    """

    type: str
    names: tuple[str, ...]


class RunCounters:
    """The counters of a compiled model, read after each of its runs.

    Args:
        opened: the compiled model, with `PERF_COUNT`.
        request: what it is run by.
    """

    def __init__(self, opened: openvino.CompiledModel, request: openvino.InferRequest) -> None:
        self._opened, self._request = opened, request
        self._means: list[list[int]] = []

    def read(self) -> None:
        """Read the counters; to be called after each run."""
        info = self._request.get_profiling_info()
        self._means.append([node.real_time // _MICROSECOND for node in info])

    def credit(self, operators: Sequence[Operator], leave_out: Collection[int]) -> OperatorTimes:
        """Return the mean times of runs, by operator.

        Args:
            operators: the network's, in the deployed form, with the names of the graph's nodes.
            leave_out: numbers of runs that don't count, from 0; all count where none is left.
        """
        left_out = set(leave_out)
        kept = [run for run in range(len(self._means)) if run not in left_out]
        us = run_times_us(self._means)[kept or slice(None)].mean(axis=0)
        fused = {
            node.get_friendly_name(): node.get_rt_info()["originalLayersNames"].astype(str)
            for node in self._opened.get_runtime_model().get_ops()
        }
        outputs = {name for output in self._opened.outputs for name in output.names}
        nodes, ms = [], []
        for counted, time_us in zip(self._request.get_profiling_info(), us, strict=True):
            if counted.status.name == "EXECUTED":
                names = fused.get(counted.node_name, "").split(",")
                nodes.append(ExecutedNode(counted.node_type, tuple(filter(None, names))))
                ms.append(max(0.0, time_us) / 1e3)
        own = operators_of(nodes, operators, outputs)
        return OperatorTimes(*add_up(ms, own, [False] * len(own), len(operators)))


def run_times_us(means_us: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """Return each run's times (runs, nodes) in microseconds, from the means after each run.

    OpenVINO adds up times that are cut to whole microseconds, and cuts their mean once more. So a
    run's time alone is known to about as many microseconds as there were runs before it, and a
    mean over many runs to one.

    Args:
        means_us: of all runs so far, for each run and node.
    """
    means = np.asarray(means_us, dtype=np.float64)
    runs = np.arange(1, len(means) + 1)[:, None]
    # The sum is one of as many whole numbers as there were runs: the middle one.
    sums = means * runs + (runs - 1) / 2
    times = np.diff(sums, axis=0, prepend=0.0)
    return np.asarray(times + _CUT_US)


def operators_of(
    nodes: Sequence[ExecutedNode], operators: Sequence[Operator], outputs: Collection[str]
) -> list[int]:
    """Return the number of the operator that each node carries out; -1 where it names none.

    Args:
        nodes: in order of execution.
        operators: the network's, in order.
        outputs: names of the graph's outputs, which stand for the last operator's name.
    """
    places = _Places(operators, outputs)
    norms = iter([i for i, operator in enumerate(operators) if operator.kind == "norm"])
    found = []
    for node in nodes:
        own = [place for place in map(places.find, node.names) if place >= 0]
        products = [i for i in own if operators[i].kind in _PRODUCTS]
        if node.type in _NORM_NODES:
            own = [next(norms, -1)]
        found.append((products or own or [-1])[0])
    return found


class _Places:
    """Where operators stand, by the names of the graph's nodes.

    A node that was folded into an operator (a product's scale, a bias) stands for the one before it
    in its unit: nodes are numbered in order.
    """

    def __init__(self, operators: Sequence[Operator], outputs: Collection[str]) -> None:
        self._last = len(operators) - 1
        self._outputs = outputs
        self._known: dict[str, int] = {}
        self._units: dict[str, list[tuple[int, int]]] = {}
        for place, operator in enumerate(operators):
            self._known[operator.name] = place
            match = NODE.match(operator.name)
            if match:
                self._units.setdefault(match["unit"], []).append((int(match["number"]), place))

    def find(self, name: str) -> int:
        if name in self._outputs:
            return self._last
        match = NODE.match(name)
        if match is None:
            return -1
        if match["name"] in self._known:
            return self._known[match["name"]]
        number = int(match["number"])
        before = [place for own, place in self._units.get(match["unit"], ()) if own <= number]
        return before[-1] if before else -1
