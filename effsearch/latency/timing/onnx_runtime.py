"""ONNX Runtime on this machine's CPU, the first of the runtimes."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from effsearch.latency.timing.kernels import credit, read_profile
from effsearch.latency.timing.models import InputSlot, random_inputs, serialised
from effsearch.latency.timing.runtime import Inputs, Model, OperatorTimes
from effsearch.precisions import FLOAT32, INT8
from searchspace import Operator, UserError
from searchspace.errors import first_line

PROVIDER = "CPUExecutionProvider"


@dataclass(frozen=True)
class OnnxRuntime:
    """ONNX Runtime with all graph optimisations, on the CPU."""

    precision: str = FLOAT32
    can_profile: ClassVar[bool] = True
    precisions: ClassVar[tuple[str, ...]] = (FLOAT32, INT8)

    def at(self, precision: str) -> OnnxRuntime:
        """Return it at another precision."""
        return replace(self, precision=precision)

    def identity(self) -> dict[str, Any]:
        """Return what a table says of the runtime."""
        return {
            "runtime": "ONNX Runtime",
            "runtime_version": ort.__version__,
            "provider": PROVIDER,
            "precision": self.precision,
            "allow_spinning": True,
        }

    def open(
        self, model: Model, threads: int, *, profiled: bool = False, rests: bool = False
    ) -> OnnxSession:
        """Open a network; an architecture is exported first, with fresh weights.

        Threads that don't rest spin for a while after a run, which slows other sessions.

        Raises:
            UserError: where ONNX Runtime does not take the model.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        folder = None
        if profiled:
            folder = tempfile.TemporaryDirectory(prefix="effsearch-kernels-")
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(folder.name) / "kernels")
        if rests:
            options.add_session_config_entry("session.force_spinning_stop", "1")
        where = f"{model}: " if isinstance(model, Path) else ""
        data = serialised(model, self.precision)
        try:
            opened = ort.InferenceSession(
                data if isinstance(data, bytes) else str(data), options, providers=[PROVIDER]
            )
        except Exception as error:  # its C++ side raises many types
            reason = first_line(error, "unknown")[:160]
            raise UserError(f"{where}ONNX Runtime does not take this model: {reason}") from None
        return OnnxSession(opened, folder, where)


class OnnxSession:
    """A network opened on ONNX Runtime.

    Args:
        opened: ONNX Runtime's session.
        folder: where it writes its profile; None where it is not profiled.
        where: begins messages: the file, where the network is one.
    """

    def __init__(
        self,
        opened: ort.InferenceSession,
        folder: tempfile.TemporaryDirectory[str] | None,
        where: str = "",
    ) -> None:
        self._opened, self._folder, self._where = opened, folder, where
        # Asking for the first output alone spares copies of side outputs.
        self._first = [opened.get_outputs()[0].name]

    def random_inputs(self, seed: int = 0) -> Inputs:
        """Return seeded normal inputs; an open batch becomes 1.

        Raises:
            UserError: where an input is no tensor of numbers, or leaves more than its batch open.
        """
        return random_feeds(self._opened, seed, self._where)

    def run(self, inputs: Inputs) -> Sequence[NDArray[np.floating[Any]]]:
        """Run the network once and return its first output."""
        try:
            found: Sequence[NDArray[np.floating[Any]]] = self._opened.run(self._first, inputs)
        except Exception as error:  # its C++ side raises many types
            reason = first_line(error, "unknown")[:160]
            raise UserError(f"{self._where}ONNX Runtime cannot run this model: {reason}") from None
        return found

    def profile(
        self, operators: Sequence[Operator], leave_out: Collection[int] = ()
    ) -> OperatorTimes:
        """Return the times of all runs so far, by operator; the session is closed by that."""
        if self._folder is None:
            raise ValueError("the session was not opened to be profiled")
        trace = self._opened.end_profiling()
        found = credit(read_profile(trace, skip=leave_out), operators)
        self._folder.cleanup()
        return OperatorTimes(*found)


_DTYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"} | {
    f"tensor({name})": name for name in ("int64", "int32", "uint8", "int8")
}


def random_feeds(opened: ort.InferenceSession, seed: int = 0, where: str = "") -> Inputs:
    """Return seeded normal inputs for every input of a session; see `random_inputs`."""
    slots = [InputSlot(i.name, i.shape, _DTYPES.get(i.type)) for i in opened.get_inputs()]
    return random_inputs(slots, seed, where)
