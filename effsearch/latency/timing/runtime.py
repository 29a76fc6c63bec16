"""What measuring and profiling need of a runtime: a program that runs networks on this machine."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from searchspace import Architecture, Operator

# A network to run: an architecture's deployed form, an ONNX file, or that file's bytes.
Model = Architecture | Path | bytes
Inputs = Mapping[str, NDArray[Any]]


class OperatorTimes(NamedTuple):
    """Where the time of a network's runs went, by operator.

    Attributes:
        ms: of one run, for each operator.
        kernels: how many of the runtime's kernels each was credited with; none where it runs
            inside another's.
    """

    ms: list[float]
    kernels: list[int]


class Session(Protocol):
    """A network opened on a runtime."""

    def random_inputs(self, seed: int = 0) -> Inputs:
        """Return inputs of the network's shapes, by name.

        Raises:
            UserError: where an input can't be made up.
        """
        ...

    def run(self, inputs: Inputs) -> Sequence[NDArray[np.floating[Any]]]:
        """Run the network once and return its outputs."""
        ...

    def profile(
        self, operators: Sequence[Operator], leave_out: Collection[int] = ()
    ) -> OperatorTimes:
        """Return the times of all runs so far, by operator; the session is closed by that.

        Args:
            operators: the network's, in the deployed form, with the names of the graph's nodes.
            leave_out: numbers of runs that don't count, from 0.
        """
        ...


class Runtime(Protocol):
    """Opens networks at one precision and says what it is."""

    @property
    def can_profile(self) -> bool:
        """Whether sessions tell the times of operators."""
        ...

    @property
    def precisions(self) -> Sequence[str]:
        """Precisions of arithmetic that it has, such as `float32`; the first is the usual one."""
        ...

    def at(self, precision: str) -> Runtime:
        """Return the runtime at one of its precisions.

        Raises:
            UserError: where the runtime is not installed, or can't run that on this machine.
        """
        ...

    def identity(self) -> dict[str, Any]:
        """Return what a table says: at least `runtime`, `runtime_version` and `precision`."""
        ...

    def open(
        self, model: Model, threads: int, *, profiled: bool = False, rests: bool = False
    ) -> Session:
        """Open a network.

        Args:
            model: the network.
            threads: of one operator; operators run one after another.
            profiled: whether the session's `profile` will be asked for.
            rests: whether threads rest between runs, for the sake of other sessions that take
                turns with this one.

        Raises:
            UserError: where the runtime can't run that.
        """
        ...
