"""ONNX files as `Graph`, for pricing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from effsearch.onnx_io.limits import (
    INFERENCE_BYTES,
    check_sizes,
    load_model,
    memory_limit,
    require_size,
    unreadable,
)
from searchspace import Operator, UserError
from searchspace.errors import printable, short
from searchspace.graph import Graph, Node
from searchspace.operators import from_graph

# Operators whose inputs after the first say how, not what: axes, shapes, bounds.
_ONE_DATA_INPUT = {
    "ReduceMean", "ReduceSum", "ReduceL2", "ReduceMax", "Slice", "Reshape", "Split", "Tile", "Pad",
    "Expand", "Clip", "Squeeze", "Unsqueeze", "Resize", "Gather",
}  # fmt: skip
_LARGE = 4096  # values; what shapes are computed from is smaller


def read_operators(path: Path) -> tuple[Operator, ...]:
    """Return the operators of an ONNX file that take time.

    Raises:
        UserError: where the file is no network that can be priced.
    """
    return graph_operators(read_graph(path), path)


def graph_operators(graph: Graph, path: str | Path) -> tuple[Operator, ...]:
    """Return the operators of a graph that was read from a file, those that take time.

    Raises:
        UserError: where the file is no network that can be priced.
    """
    try:
        found = from_graph(graph)
    except Exception as error:  # a damaged file may say anything of an operator
        raise _damaged(path, error) from None
    if not found:
        raise UserError(f"{path}: has no operator that takes time")
    return found


def read_graph(path: str | Path) -> Graph:
    """Return the graph of an ONNX file, for pricing.

    Graph inputs after the first are taken for weights, as are initialisers. The operators in the
    branches of an `If`, and one turn of the body of a `Loop` or `Scan`, are in the graph too,
    before the operator that has them.

    Raises:
        UserError: where the file is missing, is not ONNX, leaves shapes open, or is beyond the
            bounds on its size.
    """
    path = Path(path)
    model = inferred(path)
    try:
        reader = _Reader(path)
        reader.read(model.graph)
        reader.check()
    except UserError:
        raise
    except Exception as error:  # a damaged file decodes to anything
        raise _damaged(path, error) from None
    return reader.graph


def inferred(path: Path) -> onnx.ModelProto:
    """Return an ONNX file with the shapes that follow from it, and without its large weights.

    Raises:
        UserError: where it is missing, is not ONNX, or is beyond the bounds on its size.
    """
    model = load_model(path)
    _drop_large_data(model.graph)
    try:
        with memory_limit(INFERENCE_BYTES):
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except MemoryError:
        raise UserError(f"{path}: its shapes take too much memory to compute") from None
    except Exception as error:  # onnx raises many types for one mistake
        raise unreadable(path, error) from None
    check_sizes(model.graph, path)
    return model


def _damaged(path: str | Path, error: Exception) -> UserError:
    return UserError(f"{path}: not a readable ONNX file (damaged: {type(error).__name__})")


def _drop_large_data(graph: onnx.GraphProto) -> None:
    """Take the values off large weights: shapes do not depend on them."""
    for tensor in graph.initializer:
        if math.prod(tensor.dims) > _LARGE:
            kept = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            tensor.CopyFrom(kept)


class _Reader:
    """Collects the operators of a graph and of those within it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.graph = Graph()

    def read(self, proto: onnx.GraphProto) -> None:
        """Read a file's graph."""
        initialisers = {t.name for t in proto.initializer}
        inputs = [i.name for i in proto.input if i.name not in initialisers]
        if not inputs:
            raise UserError(f"{self.path}: the ONNX graph has no input")
        self.graph.inputs = inputs[:1]
        self.graph.outputs = [o.name for o in proto.output]
        self.graph.constants = set(inputs[1:])
        self._values(proto, {})
        for index, node in enumerate(proto.node):
            self._node(node, node.name or (node.output or [""])[0] or f"node_{index}", {})

    def check(self) -> None:
        """Check that everything that is read is there, and of a size that a device takes."""
        graph = self.graph
        known = set(graph.inputs) | graph.constants | {""}
        for node in graph.nodes:
            for name in node.inputs:
                if name not in known or (name and name not in graph.shapes):
                    raise self._loose(name)
            known.update(node.outputs)
        for name in graph.outputs:
            if name not in known:
                raise self._loose(name)
        for name, shape in graph.shapes.items():
            require_size(shape, name, self.path)

    def _loose(self, name: str) -> UserError:
        return UserError(f"{self.path}: not a readable ONNX file (nothing gives {short(name)})")

    def _values(self, proto: onnx.GraphProto, names: Mapping[str, str]) -> None:
        """Note the shapes of a graph's values and its constants."""
        for info in (*proto.input, *proto.value_info, *proto.output):
            shape = _shape(info)
            if shape is not None:
                self.graph.shapes[names.get(info.name, info.name)] = shape
        for tensor in proto.initializer:
            name = names.get(tensor.name, tensor.name)
            self.graph.shapes[name] = tuple(tensor.dims)
            self.graph.constants.add(name)
            if math.prod(tensor.dims) == 1 and not tensor.external_data:
                self.graph.scalars[name] = float(numpy_helper.to_array(tensor).reshape(-1)[0])

    def _node(self, proto: onnx.NodeProto, name: str, names: Mapping[str, str]) -> None:
        """Add an operator, after those of the graphs in its attributes.

        Args:
            proto: the operator.
            name: what it is called.
            names: of values in the file, as they are in the graph, where that differs.
        """
        attributes = {a.name: helper.get_attribute_value(a) for a in proto.attribute}
        inputs = [names.get(name, name) for name in proto.input]
        outputs = [names.get(name, name) for name in proto.output if name]
        if proto.op_type == "Constant":
            value = attributes.get("value")
            shape = tuple(value.dims) if isinstance(value, TensorProto) else ()
            self.graph.shapes[outputs[0]] = shape
            self.graph.constants.add(outputs[0])
            return
        if proto.op_type in _ONE_DATA_INPUT:
            inputs = inputs[:1]
        for key, value in attributes.items():
            if isinstance(value, onnx.GraphProto):
                results = self._body(value, f"{name}/{key}", inputs, names)
                inputs = inputs + results
                # A loop's body first says whether to go on.
                for output, result in zip(
                    outputs, results[proto.op_type == "Loop" :], strict=False
                ):
                    if result in self.graph.shapes:
                        self.graph.shapes.setdefault(output, self.graph.shapes[result])
        self.graph.nodes.append(
            Node(printable(proto.op_type), inputs, outputs, attributes, printable(name))
        )
        for output in outputs:
            if output not in self.graph.shapes:
                raise UserError(
                    f"{self.path}: the shape of {short(output)} is open; export with a fixed input "
                    "size"
                )

    def _body(
        self, proto: onnx.GraphProto, scope: str, given: list[str], outer: Mapping[str, str]
    ) -> list[str]:
        """Add the operators of a branch or a body; returns what it gives."""
        own = [t.name for t in proto.initializer]
        own += [i.name for i in proto.input] + [o for node in proto.node for o in node.output]
        names = {**outer, **{name: f"{scope}/{name}" for name in own if name}}
        self._values(proto, names)
        # A loop gives its body a number and a condition, then what it was given after its own two.
        for position, info in enumerate(proto.input):
            source = given[position] if position < len(given) else ""
            if position >= 2 and source in self.graph.shapes:
                self.graph.shapes.setdefault(names[info.name], self.graph.shapes[source])
            elif position < 2:
                self.graph.shapes.setdefault(names[info.name], ())
            self.graph.inputs.append(names[info.name])
        for index, node in enumerate(proto.node):
            self._node(node, f"{scope}/{node.name or index}", names)
        return [names.get(output.name, output.name) for output in proto.output]


def _shape(info: onnx.ValueInfoProto) -> tuple[int, ...] | None:
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return None
    dims = []
    for position, dim in enumerate(kind.shape.dim):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            dims.append(int(dim.dim_value))
        elif position == 0:
            dims.append(1)  # an open batch size: latency is for one image
        else:
            return None
    return tuple(dims)
