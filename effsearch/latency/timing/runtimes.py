"""The runtimes, by the name that `--runtime` takes.

An installed package adds one with an entry point of the group `effsearch.runtimes`: its name is
what `--runtime` takes, its object a `Runtime`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from effsearch.latency.timing.onnx_runtime import OnnxRuntime
from effsearch.latency.timing.openvino_runtime import OpenVinoRuntime
from effsearch.latency.timing.runtime import Runtime
from searchspace import UserError
from searchspace.extensions import installed

GROUP = "effsearch.runtimes"
DEFAULT = "onnxruntime"
_SHIPPED: dict[str, Runtime] = {DEFAULT: OnnxRuntime(), "openvino": OpenVinoRuntime()}


def runtimes() -> dict[str, Runtime]:
    """Return every runtime by name.

    Raises:
        UserError: where an installed package's runtime cannot be imported.
    """
    return installed(GROUP) | _SHIPPED


def find_runtime(name: str = DEFAULT, precision: str | None = None) -> Runtime:
    """Return the runtime of a name.

    Args:
        name: of the runtime.
        precision: of its arithmetic; its usual one where None.

    Raises:
        UserError: where there is none, or it lacks the precision (names those there are), or it is
            not installed.
    """
    known = runtimes()
    if name not in known:
        raise UserError(f"--runtime: {name!r} is unknown; use {' or '.join(sorted(known))}")
    allowed = known[name].precisions
    if precision is not None and precision not in allowed:
        raise UserError(f"--precision: {name} has {' or '.join(allowed)}, not {precision!r}")
    return known[name].at(precision or allowed[0])


def runtime_of(meta: Mapping[str, Any], precision: str | None = None) -> Runtime:
    """Return the runtime, at the precision, that a table was measured on.

    Args:
        meta: the table's.
        precision: another one, in place of the table's.

    Returns:
        The default one where that is not here; `matches_this_machine` then says so.

    Raises:
        UserError: where the runtime lacks the other precision.
    """
    for name, runtime in runtimes().items():
        if meta.get("precision") in runtime.precisions:
            try:
                found = find_runtime(name, meta["precision"])
            except UserError:  # not installed, or this CPU lacks the precision
                continue
            if found.identity()["runtime"] == meta.get("runtime"):
                return find_runtime(name, precision) if precision else found
    return find_runtime(precision=precision)
