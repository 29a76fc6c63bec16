"""ONNX Runtime on this machine: sessions, and what identifies the machine in a table."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import numpy_helper

from effsearch.errors import first_line
from searchspace import UserError

PROVIDER = "CPUExecutionProvider"
Feeds = dict[str, NDArray[Any]]

# Kinds of differences that make a table another machine's; the rest (date, kernel) do not.
IDENTITY = ("cpu", "cpu_model", "runtime_version", "allow_spinning")


def cpu_name() -> str:
    """Return the CPU's name as the operating system has it."""
    return _cpu_fields().get("model name") or platform.processor() or platform.machine()


def cpu_model() -> str:
    """Return vendor, family, model and stepping, which tell apart CPUs of one name."""
    fields = _cpu_fields()
    wanted = ("vendor_id", "cpu family", "model", "stepping")
    return " ".join(fields[name] for name in wanted if name in fields) or platform.machine()


def _cpu_fields() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return {}
    first = text.split("\n\n", 1)[0]
    pairs = (line.split(":", 1) for line in first.splitlines() if ":" in line)
    return {key.strip(): value.strip() for key, value in pairs}


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def host() -> dict[str, Any]:
    """Return what identifies this machine and runtime in a table."""
    return {
        "cpu": cpu_name(),
        "cpu_model": cpu_model(),
        "cores": cores(),
        "os": f"{platform.system()} {platform.machine()}",
        "runtime": "ONNX Runtime",
        "runtime_version": ort.__version__,
        "provider": PROVIDER,
        "precision": "float32",
        "allow_spinning": True,
    }


def matches_this_machine(meta: Mapping[str, Any]) -> list[str]:
    """Return in what this machine differs from the one that a table was measured on.

    Args:
        meta: the table's; one that was not measured on ONNX Runtime differs in its runtime.

    Returns:
        One short sentence a difference; empty where measurements here can be held against it.
    """
    here = host()
    if meta.get("runtime") != here["runtime"]:
        return [f"runtime is {meta.get('runtime', 'unknown')}, here {here['runtime']}"]
    differences = [
        f"{key.replace('_', ' ')} is {meta.get(key)}, here {here[key]}"
        for key in IDENTITY
        if meta.get(key) != here[key]
    ]
    threads = int(meta.get("threads", 1))
    if threads > here["cores"]:
        differences.append(f"measured with {threads} threads, here are {here['cores']} cores")
    return differences


def slug(text: str) -> str:
    """Return text as a file name: lower case, digits and single dashes."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def check_threads(threads: int) -> None:
    """Check a number of threads.

    Raises:
        UserError: where this machine does not have as many cores.
    """
    if not 1 <= threads <= cores():
        raise UserError(f"threads: {threads} is not from 1 to {cores()}, this machine's cores")


def session(
    model: bytes | str | Path,
    threads: int,
    profile_prefix: str | None = None,
    rests: bool = False,
) -> ort.InferenceSession:
    """Return a session with all graph optimisations.

    Args:
        model: a serialised model or the path of one.
        threads: of one operator; operators run one after another.
        profile_prefix: where to write ONNX Runtime's own profile, None for none.
        rests: whether its threads rest between runs; by default they spin for a while, which
            slows other sessions that take turns with it.

    Raises:
        UserError: where ONNX Runtime does not take the model.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if profile_prefix is not None:
        options.enable_profiling = True
        options.profile_file_prefix = profile_prefix
    if rests:
        options.add_session_config_entry("session.force_spinning_stop", "1")
    data = str(model) if isinstance(model, Path) else model
    try:
        return ort.InferenceSession(data, options, providers=[PROVIDER])
    except Exception as error:  # its C++ side raises many types
        reason = first_line(error, "unknown")[:160]
        raise UserError(f"ONNX Runtime does not take this model: {reason}") from None


def random_feeds(opened: ort.InferenceSession, seed: int = 0) -> Feeds:
    """Return seeded normal inputs for every input of a session; open dimensions become 1.

    Raises:
        UserError: where an input is no tensor of numbers.
    """
    rng = np.random.default_rng(seed)
    feeds: Feeds = {}
    for item in opened.get_inputs():
        shape = [d if isinstance(d, int) and d > 0 else 1 for d in item.shape]
        if item.type == "tensor(float)":
            feeds[item.name] = rng.standard_normal(shape).astype(np.float32)
        elif item.type == "tensor(float16)":
            feeds[item.name] = rng.standard_normal(shape).astype(np.float16)
        elif item.type in ("tensor(int64)", "tensor(int32)", "tensor(uint8)", "tensor(int8)"):
            feeds[item.name] = np.zeros(shape, dtype=item.type[7:-1])
        else:
            raise UserError(f"input {item.name}: cannot feed a {item.type}")
    return feeds


def with_weights(path: Path, seed: int = 0) -> bytes | Path:
    """Return an ONNX file with graph inputs after the first turned into random weights.

    Runtimes fold and repack weights, but not inputs: left as inputs they would cost time that the
    network does not take. A file without such inputs is returned as it is.

    Raises:
        UserError: where the file is not ONNX.
    """
    try:
        model = onnx.load(str(path))
    except Exception as error:  # onnx and protobuf raise many types
        reason = first_line(error, "unreadable")[:120]
        raise UserError(f"{path}: not a readable ONNX file ({reason})") from None
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
