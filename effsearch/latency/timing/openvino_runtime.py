"""OpenVINO on this machine's CPU, priced by its own counters of what it executes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from effsearch.latency.timing.models import InputSlot, random_inputs, serialised
from effsearch.latency.timing.openvino_kernels import RunCounters
from effsearch.latency.timing.runtime import Inputs, Model, OperatorTimes
from effsearch.precisions import BFLOAT16, FLOAT16, FLOAT32, INT8
from searchspace import Operator, UserError
from searchspace.errors import first_line

if TYPE_CHECKING:
    import openvino

EXTRA = "openvino"
# OpenVINO's names: of a precision's arithmetic, and of what a device must be able to do.
_HINTS = {FLOAT32: "f32", BFLOAT16: "bf16", FLOAT16: "f16", INT8: "f32"}
_CAPABILITIES = {FLOAT32: "FP32", BFLOAT16: "BF16", FLOAT16: "FP16", INT8: "INT8"}


def _openvino() -> Any:
    try:
        import openvino
    except ImportError:
        raise UserError(
            f"--runtime: openvino is not installed; use `pip install effsearch[{EXTRA}]`"
        ) from None
    return openvino


@dataclass(frozen=True)
class OpenVinoRuntime:
    """OpenVINO's CPU plug-in, for the latency of one stream.

    In int8, what is not quantised computes in float32.
    """

    precision: str = FLOAT32
    can_profile: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = tuple(_HINTS)

    def at(self, precision: str) -> OpenVinoRuntime:
        """Return it at another precision.

        Raises:
            UserError: where OpenVINO is not installed, or this CPU lacks the precision.
        """
        core = _openvino().Core()
        able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if _CAPABILITIES[precision] not in able:
            here = [name for name in self.precisions if _CAPABILITIES[name] in able]
            raise UserError(
                f"--precision: OpenVINO runs no {precision} on this CPU; it has {' or '.join(here)}"
            )
        return replace(self, precision=precision)

    def identity(self) -> dict[str, Any]:
        """Return what a table says of the runtime."""
        return {
            "runtime": "OpenVINO",
            "runtime_version": _openvino().__version__,
            "provider": "CPU",
            "precision": self.precision,
        }

    def open(
        self, model: Model, threads: int, *, profiled: bool = False, rests: bool = False
    ) -> OpenVinoSession:
        """Open a network; an architecture is exported first, with fresh weights.

        OpenVINO's threads always rest between runs.

        Raises:
            UserError: where OpenVINO does not take the model.
        """
        openvino = _openvino()
        where = f"{model}: " if isinstance(model, Path) else ""
        data = serialised(model, self.precision)
        core = openvino.Core()
        try:
            read = core.read_model(data)
            opened = core.compile_model(
                read,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": _HINTS[self.precision],
                    "PERFORMANCE_HINT": "LATENCY",
                    "NUM_STREAMS": "1",
                    "INFERENCE_NUM_THREADS": str(threads),
                    "ENABLE_CPU_PINNING": "NO",  # sessions take turns on the same cores
                    "PERF_COUNT": "YES" if profiled else "NO",
                },
            )
        except Exception as error:  # its C++ side raises many types
            reason = first_line(error, "unknown")[:160]
            raise UserError(f"{where}OpenVINO does not take this model: {reason}") from None
        return OpenVinoSession(opened, profiled, where)


class OpenVinoSession:
    """A network opened on OpenVINO.

    Args:
        opened: OpenVINO's compiled model.
        profiled: whether it counts.
        where: begins messages: the file, where the network is one.
    """

    def __init__(self, opened: openvino.CompiledModel, profiled: bool, where: str = "") -> None:
        self._opened, self._where = opened, where
        self._request = opened.create_infer_request()
        self._counters = RunCounters(opened, self._request) if profiled else None

    def random_inputs(self, seed: int = 0) -> Inputs:
        """Return seeded normal inputs; an open batch becomes 1.

        Raises:
            UserError: where an input is no tensor of numbers, or leaves more than its batch open.
        """
        slots = [
            InputSlot(
                item.any_name,
                [d.get_length() if d.is_static else str(d) for d in item.partial_shape],
                item.element_type.to_dtype().name,
            )
            for item in self._opened.inputs
        ]
        return random_inputs(slots, seed, self._where)

    def run(self, inputs: Inputs) -> Sequence[NDArray[np.floating[Any]]]:
        """Run the network once and return its first output."""
        try:
            self._request.infer(dict(inputs), share_inputs=True)
        except Exception as error:  # its C++ side raises many types
            reason = first_line(error, "unknown")[:160]
            raise UserError(f"{self._where}OpenVINO cannot run this model: {reason}") from None
        if self._counters is not None:
            self._counters.read()
        return [self._request.get_output_tensor(0).data.copy()]

    def profile(
        self, operators: Sequence[Operator], leave_out: Collection[int] = ()
    ) -> OperatorTimes:
        """Return the times of all runs so far, by operator; the session is closed by that."""
        if self._counters is None:
            raise ValueError("the session was not opened to be profiled")
        return self._counters.credit(operators, leave_out)
