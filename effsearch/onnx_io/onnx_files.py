"""ONNX in and out: files to `Graph` for pricing, networks to files that run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from effsearch.onnx_io.older import for_opset
from searchspace import Backbone, Network, deploy
from searchspace.graph import ANY_BATCH, Graph, Node, open_batch
from searchspace.resolution import Resolution, height_width
from searchspace.tracing import trace

OPSET = 20
_AXES_ARE_INPUTS = 18  # from this opset on; ReduceSum's always, in those that are written


def to_onnx(
    network: Network | Backbone,
    image_batch: int | None = 1,
    side: Resolution | None = None,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Return the deployed form of a network as an ONNX model with its weights.

    Args:
        network: the network, trained or fresh; left as it is.
        image_batch: batch size, fixed in the file; None leaves it open.
        side: of the image or its height and width, fixed in the file; the architecture's where
            None.
        opset: of ONNX, 13 or more.

    Returns:
        A model with input `input` (N, 3, H, W), float32, and output `logits` (N, num_classes) or,
        of a backbone, `feature_0` and so on, each stage's map by the stage's index.
    """
    size = height_width(side or network.architecture.resolution)
    deployed = deploy(network)
    graph = trace(deployed, (ANY_BATCH if image_batch is None else image_batch, 3, *size))
    name = network.architecture.name or "network"
    model = model_proto(graph, _arrays(deployed), name, output_names(network), opset)
    entry = model.metadata_props.add()
    entry.key, entry.value = "architecture", network.architecture.to_yaml()
    return model


def output_names(network: Network | Backbone) -> tuple[str, ...]:
    """Return what a network's outputs are called in files."""
    if isinstance(network, Network):
        return ("logits",)
    return tuple(f"feature_{entry['index']}" for entry in network.feature_info)


def _arrays(module: nn.Module) -> dict[str, np.ndarray[Any, Any]]:
    tensors: dict[str, torch.Tensor] = {**dict(module.named_parameters())}
    tensors.update(dict(module.named_buffers()))
    return {name: t.detach().cpu().float().numpy() for name, t in tensors.items()}


def model_proto(
    graph: Graph,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    name: str = "network",
    outputs: Sequence[str] = ("logits",),
    opset: int = OPSET,
) -> onnx.ModelProto:
    """Return a graph with its constants as an ONNX model.

    Args:
        graph: the graph.
        arrays: its constants by name.
        name: of the model.
        outputs: names that its outputs get.
        opset: of ONNX, 13 or more.
    """
    older = for_opset(graph, opset)
    writer = _Writer(older, arrays, opset)
    for node in older.nodes:
        writer.write(node)
    renamed = dict(zip(graph.outputs, outputs, strict=True))
    for proto in writer.nodes:
        for names in (proto.output, proto.input):
            for index, held in enumerate(names):
                names[index] = renamed.get(held, held)
    body = helper.make_graph(
        writer.nodes,
        name,
        [_value("input", graph.shapes[graph.inputs[0]])],
        [_value(given, graph.shapes[own]) for own, given in renamed.items()],
        list(writer.initialisers.values()),
    )
    imports = [helper.make_opsetid("", opset)]
    return helper.make_model(
        body,
        opset_imports=imports,
        ir_version=helper.find_min_ir_version_for(imports),
        producer_name="effsearch",
    )


def _value(name: str, shape: Sequence[int]) -> onnx.ValueInfoProto:
    dims = ["batch" if side == ANY_BATCH else side for side in shape]
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


class _Writer:
    """Turns our nodes, whose axes and shapes are attributes, into ONNX's."""

    def __init__(
        self, graph: Graph, arrays: Mapping[str, np.ndarray[Any, Any]], opset: int
    ) -> None:
        self.graph = graph
        self._opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: dict[str, TensorProto] = {}
        for name in sorted({i for n in graph.nodes for i in n.inputs} & graph.constants):
            if name in graph.scalars:
                self.constant(name, np.float32(graph.scalars[name]))
            elif name.endswith(":transposed"):
                self.constant(name, np.ascontiguousarray(arrays[name[: -len(":transposed")]].T))
            else:
                self.constant(name, arrays[name])

    def constant(self, name: str, value: Any) -> str:
        array = np.asarray(value)
        if name not in self.initialisers:
            self.initialisers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def integers(self, values: list[int]) -> str:
        return self.constant(f"int64:{','.join(map(str, values))}", np.asarray(values, np.int64))

    def shape(self, sides: Sequence[int]) -> str:
        return self.integers(open_batch(sides))

    def scales(self, before: Sequence[int], after: Sequence[int]) -> str:
        factors = [new / old for old, new in zip(before, after, strict=True)]
        return self.constant(f"scales:{factors}", np.asarray(factors, np.float32))

    def add(self, op: str, inputs: list[str], outputs: list[str], name: str, **attrs: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, outputs, name=name, **attrs))

    def write(self, node: Node) -> None:
        attributes = dict(node.attributes)
        inputs, outputs = list(node.inputs), list(node.outputs)
        if node.op == "GroupNormalization":
            self.group_norm(node)
            return
        if node.op == "ReduceSum" or (
            node.op in ("ReduceMean", "ReduceL2") and self._opset >= _AXES_ARE_INPUTS
        ):
            inputs.append(self.integers(attributes.pop("axes")))
        elif node.op == "Reshape":
            inputs.append(self.shape(attributes.pop("shape")))
        elif node.op == "Resize":
            inputs += ["", self.scales(self.graph.shapes[inputs[0]], attributes.pop("sizes"))]
        elif node.op == "Split":
            inputs.append(self.integers(attributes.pop("split")))
        elif node.op == "Tile":
            inputs.append(self.integers(attributes.pop("repeats")))
        elif node.op == "Slice":
            inputs += [self.integers(attributes.pop(k)) for k in ("starts", "ends", "axes")]
        elif node.op == "Pad":
            inputs.append(self.integers(attributes.pop("pads")))
            value = attributes.pop("value")
            inputs.append(self.constant(f"scalar:{value!r}", np.float32(value)))
        self.add(node.op, inputs, outputs, node.name, **attributes)

    def group_norm(self, node: Node) -> None:
        """One instance norm over each group, then the gains (ONNX Runtime has a kernel for it)."""
        shape = self.graph.shapes[node.inputs[0]]
        groups = int(node.attributes["num_groups"])
        name = node.name
        ones = self.constant(f"ones:{groups}", np.ones(groups, np.float32))
        zeros = self.constant(f"zeros:{groups}", np.zeros(groups, np.float32))
        folded = self.integers([0, groups, -1])  # 0 keeps the batch
        self.add("Reshape", [node.inputs[0], folded], [f"{name}/folded"], f"{name}/fold")
        self.add(
            "InstanceNormalization",
            [f"{name}/folded", ones, zeros],
            [f"{name}/normed"],
            name,
            epsilon=node.attributes["epsilon"],
        )
        affine = node.inputs[1:]
        last = f"{name}/plain" if affine else node.outputs[0]
        self.add("Reshape", [f"{name}/normed", self.shape(shape)], [last], f"{name}/back")
        for op, constant in zip(("Mul", "Add"), affine, strict=False):
            column = self.integers([len(self.graph.shapes[constant]) and shape[1], 1, 1])
            self.add("Reshape", [constant, column], [f"{constant}/column"], f"{name}/{op}/column")
            target = node.outputs[0] if constant == affine[-1] else f"{name}/{op}"
            self.add(op, [last, f"{constant}/column"], [target], f"{name}/{op}")
            last = target
