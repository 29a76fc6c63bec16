"""The runtimes, by the name that `--runtime` takes.

An installed package adds one with an entry point of the group `effsearch.runtimes`: its name is
what `--runtime` takes, its object a `Runtime`.
"""

from __future__ import annotations

from effsearch.latency.timing.onnx_runtime import OnnxRuntime
from effsearch.latency.timing.runtime import Runtime
from searchspace import UserError
from searchspace.extensions import installed

GROUP = "effsearch.runtimes"
DEFAULT = "onnxruntime"
_SHIPPED: dict[str, Runtime] = {DEFAULT: OnnxRuntime()}


def runtimes() -> dict[str, Runtime]:
    """Return every runtime by name.

    Raises:
        UserError: where an installed package's runtime cannot be imported.
    """
    return installed(GROUP) | _SHIPPED


def find_runtime(name: str = DEFAULT) -> Runtime:
    """Return the runtime of a name.

    Raises:
        UserError: where there is none; names those there are.
    """
    known = runtimes()
    if name not in known:
        raise UserError(f"--runtime: {name!r} is unknown; use {' or '.join(sorted(known))}")
    return known[name]
