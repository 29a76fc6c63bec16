"""ONNX Runtime on this machine's CPU, the first of the runtimes."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from effsearch.latency.timing.kernels import credit, read_profile
from effsearch.latency.timing.runtime import PRECISION, Inputs, Model, OperatorTimes
from effsearch.onnx_io.limits import unreadable
from effsearch.onnx_io.reading import inferred
from searchspace import Architecture, Operator, UserError
from searchspace.errors import first_line

PROVIDER = "CPUExecutionProvider"


class OnnxRuntime:
    """ONNX Runtime with all graph optimisations, on the CPU, in float32."""

    can_profile = True

    def identity(self) -> dict[str, Any]:
        """Return what a table says of the runtime."""
        return {
            "runtime": "ONNX Runtime",
            "runtime_version": ort.__version__,
            "provider": PROVIDER,
            "precision": PRECISION,
            "allow_spinning": True,
        }

    def open(
        self,
        model: Model,
        threads: int,
        precision: str = PRECISION,
        *,
        profiled: bool = False,
        rests: bool = False,
    ) -> OnnxSession:
        """Open a network; an architecture is exported first, with fresh weights.

        Threads that don't rest spin for a while after a run, which slows other sessions.

        Raises:
            UserError: where ONNX Runtime does not take the model, or the precision is another.
        """
        if precision != PRECISION:
            raise UserError(f"precision: {precision!r} is not {PRECISION}, what ONNX Runtime runs")
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
        data = _serialised(model)
        where = f"{model}: " if isinstance(model, Path) else ""
        try:
            opened = ort.InferenceSession(data, options, providers=[PROVIDER])
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


def _serialised(model: Model) -> bytes | str:
    if isinstance(model, bytes):
        return model
    if isinstance(model, Path):
        known = with_weights(model)
        return known if isinstance(known, bytes) else str(known)
    return _exported(model)


@lru_cache(maxsize=2)  # the reference network is opened again with each network beside it
def _exported(architecture: Architecture) -> bytes:
    # torch is slow to import, and files can be measured without it.
    from effsearch.export.as_trained import as_trained
    from effsearch.onnx_io.onnx_files import to_onnx

    return bytes(to_onnx(as_trained(architecture)).SerializeToString())


def random_feeds(
    opened: ort.InferenceSession, seed: int = 0, where: str = ""
) -> dict[str, NDArray[Any]]:
    """Return seeded normal inputs for every input of a session; an open batch becomes 1.

    Raises:
        UserError: where an input is no tensor of numbers, or leaves more than its batch open.
    """
    rng = np.random.default_rng(seed)
    feeds: dict[str, NDArray[Any]] = {}
    for item in opened.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else 1 for d in item.shape]
        if item.shape[1:] != shape[1:]:
            open_shape = ", ".join(str(d) for d in item.shape)
            raise UserError(
                f"{where}input {item.name} has the open shape ({open_shape}); export with a "
                "fixed input size, on which the latency depends"
            )
        if item.type == "tensor(float)":
            feeds[item.name] = rng.standard_normal(shape).astype(np.float32)
        elif item.type == "tensor(float16)":
            feeds[item.name] = rng.standard_normal(shape).astype(np.float16)
        elif item.type in ("tensor(int64)", "tensor(int32)", "tensor(uint8)", "tensor(int8)"):
            feeds[item.name] = np.zeros(shape, dtype=item.type[7:-1])
        else:
            raise UserError(f"{where}input {item.name}: cannot feed a {item.type}")
    return feeds


def with_weights(path: Path, seed: int = 0) -> bytes | Path:
    """Return an ONNX file with graph inputs after the first turned into random weights.

    Runtimes fold and repack weights, but not inputs: left as inputs they would cost time that the
    network does not take. A file without such inputs is returned as it is.

    Raises:
        UserError: where the file is not ONNX, or beyond the bounds on its size.
    """
    inferred(path)  # refuses what is no model, or too large to be run
    try:
        model = onnx.load(str(path))
    except Exception as error:  # onnx and protobuf raise many types
        raise unreadable(path, error) from None
    named = {tensor.name for tensor in model.graph.initializer}
    extra = [item for item in model.graph.input if item.name not in named][1:]
    if not extra:
        return path
    rng = np.random.default_rng(seed)
    for item in extra:
        kind = item.type.tensor_type
        dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
        shape = [d.dim_value or 1 for d in kind.shape.dim]
        # Small and positive: variances of norms must not be negative.
        values = np.abs(0.02 * rng.standard_normal(shape)).astype(dtype)
        model.graph.initializer.append(numpy_helper.from_array(values, item.name))
        model.graph.input.remove(item)
    return bytes(model.SerializeToString())
