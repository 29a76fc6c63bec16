"""Bounds on ONNX files, held before anything is computed from what they say."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx

from searchspace import UserError
from searchspace.errors import short

MAX_BYTES = 1 << 30
MAX_NODES = 20_000
MAX_LEVELS = 8  # of graphs within graphs
MAX_VALUES = 1 << 28  # of one tensor: 1 GB in float32
INFERENCE_BYTES = 256 << 20  # shape inference of an honest model takes a few MB
_PARTS = {onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS}


def load_model(path: Path) -> onnx.ModelProto:
    """Return an ONNX file as it is, without data that is kept in other files.

    Raises:
        UserError: where it is missing, unreadable, or beyond the bounds.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such ONNX file")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: larger than {MAX_BYTES >> 20} MB, the most that is read")
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # onnx and protobuf raise many types for one mistake
        raise unreadable(path, error) from None
    if not model.graph.node or not model.graph.input:
        raise UserError(f"{path}: not a readable ONNX file (no graph in it)")
    nodes = 0
    for graph in _graphs(model.graph, path):
        nodes += len(graph.node)
        if nodes > MAX_NODES:
            raise UserError(f"{path}: more than {MAX_NODES} operators, the most that is read")
        check_sizes(graph, path)
    return model


def check_sizes(graph: onnx.GraphProto, path: Path) -> None:
    """Check the shapes that a graph states.

    Raises:
        UserError: where one is none, or a larger one than any device takes.
    """
    for tensor in graph.initializer:
        require_size(tensor.dims, tensor.name, path)
    for info in (*graph.input, *graph.value_info, *graph.output):
        dims = info.type.tensor_type.shape.dim
        require_size([d.dim_value or 1 for d in dims], info.name, path)


def unreadable(path: Path, error: Exception) -> UserError:
    """Return what a damaged file is told as, from the error that it made."""
    lines = str(error).strip().splitlines()
    reason = lines[0][:60] if lines else type(error).__name__
    return UserError(f"{path}: not a readable ONNX file ({reason})")


def require_size(dims: Iterable[int], name: str, path: Path) -> None:
    """Check the shape of a tensor.

    Raises:
        UserError: where it is no shape, or a larger one than any device takes.
    """
    shape = tuple(dims)
    if any(d < 0 for d in shape):
        raise UserError(f"{path}: {short(name)} has the shape {short(shape)}, which is none")
    if math.prod(shape) > MAX_VALUES:
        raise UserError(
            f"{path}: {short(name)} has the shape {short(shape)}; tensors of at most "
            f"{MAX_VALUES >> 20} M values are taken"
        )


@contextmanager
def memory_limit(more_bytes: int) -> Iterator[None]:
    """Let allocations fail (`MemoryError`) that take much more memory than there is in use now.

    The whole process is held to it, where the system can (Linux); elsewhere nothing is.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    bounds = [b for b in (soft, hard, in_use + more_bytes) if b != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _graphs(graph: onnx.GraphProto, path: Path) -> Iterator[onnx.GraphProto]:
    """Yield a graph and those in its nodes' attributes, at any depth."""
    level = [graph]
    for _ in range(MAX_LEVELS):
        yield from level
        level = [
            part
            for outer in level
            for node in outer.node
            for attribute in node.attribute
            if attribute.type in _PARTS
            for part in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs)
        ]
        if not level:
            return
    raise UserError(f"{path}: graphs within graphs beyond {MAX_LEVELS} levels")
