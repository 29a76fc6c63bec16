"""`trace`: a module's forward pass as a `Graph`, recorded on the meta device (no arithmetic).

Calls of the torch API are intercepted by a `TorchFunctionMode` and written down as ONNX operators.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from searchspace.graph import Graph, Node


def trace(module: nn.Module, input_shape: Sequence[int]) -> Graph:
    """Return the graph of a module in eval mode.

    Args:
        module: the module; left as it is. Where it has `run`, which tells when each of its named
            parts begins, these names scope the nodes.
        input_shape: shape of its one input.

    Raises:
        NotImplementedError: where the module calls an operator that has no ONNX form here; names
            it.
    """
    with torch.no_grad():
        return trace_on_meta(copy.deepcopy(module).to("meta").eval(), input_shape)


def trace_on_meta(module: nn.Module, input_shape: Sequence[int], inputs: int = 1) -> Graph:
    """Return the graph of a module that is on the meta device, in eval mode; see `trace`.

    Args:
        module: the module.
        input_shape: shape of its inputs.
        inputs: how many it has.
    """
    graph = Graph(trainable=set())
    recorder = _Recorder(graph)
    assert graph.trainable is not None
    for name, parameter in module.named_parameters():
        recorder.constant(name, parameter)
        graph.trainable.add(name)
    for name, buffer in module.named_buffers():
        recorder.constant(name, buffer)
    graph.inputs = ["input", *(f"input_{number}" for number in range(1, inputs))]
    taken = [torch.empty(tuple(input_shape), device="meta") for _ in graph.inputs]
    for tensor, name in zip(taken, graph.inputs, strict=True):
        recorder.enter(tensor, name)
    with torch.no_grad(), recorder:
        run = getattr(module, "run", None)
        found = [module(*taken)] if run is None else run(*taken, recorder.within)
    graph.outputs = [recorder.name(tensor) for tensor in found]
    used = {name for node in graph.nodes for name in node.inputs}
    graph.constants &= used
    graph.trainable &= used
    return graph


class _Recorder(TorchFunctionMode):
    """Writes each intercepted call into a graph."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self.scope = ""
        self._names: dict[int, str] = {}
        self._kept: list[Tensor] = []  # keeps ids from being used again
        self._count = 0

    def enter(self, tensor: Tensor, name: str) -> None:
        self._names[id(tensor)] = name
        self._kept.append(tensor)
        self.graph.shapes[name] = tuple(tensor.shape)

    def within(self, scope: str) -> None:
        self.scope = scope

    def constant(self, name: str, tensor: Tensor) -> None:
        self.enter(tensor, name)
        self.graph.constants.add(name)

    def name(self, tensor: Tensor) -> str:
        return self._names[id(tensor)]

    def operand(self, value: Tensor | float) -> str:
        """Return the name of a tensor, or of a new scalar constant."""
        if isinstance(value, Tensor):
            return self.name(value)
        name = f"scalar:{float(value)!r}"
        self.graph.constants.add(name)
        self.graph.shapes[name] = ()
        self.graph.scalars[name] = float(value)
        return name

    def emit(
        self, op: str, inputs: Sequence[str], outputs: Sequence[Tensor], **attributes: Any
    ) -> None:
        names = []
        for tensor in outputs:
            self._count += 1
            name = f"{self.scope}/{op}_{self._count}" if self.scope else f"{op}_{self._count}"
            self.enter(tensor, name)
            names.append(name)
        self.graph.nodes.append(Node(op, list(inputs), names, attributes, names[0]))

    def fresh(self, shape: Sequence[int]) -> Tensor:
        return torch.empty(tuple(shape), device="meta")

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = {k: v for k, v in (kwargs or {}).items() if k != "out"}
        rule = _SHAPES.get(func)
        result = func(*args, **kwargs) if rule is None else self.fresh(rule(*args, **kwargs))
        handler = _HANDLERS.get(func)
        if handler is None:
            if not _has_tensor(result):
                return result
            name = getattr(func, "__name__", str(func))
            raise NotImplementedError(f"no ONNX form for torch operator {name!r}")
        return handler(self, result, *args, **kwargs)


def _has_tensor(result: Any) -> bool:
    if isinstance(result, tuple | list):
        return any(isinstance(item, Tensor) for item in result)
    return isinstance(result, Tensor)


Handler = Callable[..., Any]
_HANDLERS: dict[Any, Handler] = {}
# Output shapes by rule, where asking torch on the meta device is slow.
_SHAPES: dict[Any, Callable[..., Sequence[int]]] = {}


def _handles(
    *functions: Any, shape: Callable[..., Sequence[int]] | None = None
) -> Callable[[Handler], Handler]:
    def enter(handler: Handler) -> Handler:
        for function in functions:
            _HANDLERS[function] = handler
            if shape is not None:
                _SHAPES[function] = shape
        return handler

    return enter


def _shape_of_first(x: Tensor, *_: Any, **__: Any) -> Sequence[int]:
    return x.shape


def _broadcast_shape(a: Any, b: Any, *_: Any) -> Sequence[int]:
    if not isinstance(b, Tensor):
        return list(a.shape)
    if not isinstance(a, Tensor):
        return list(b.shape)
    return _broadcast(a.shape, b.shape)


def _broadcast(a: Sequence[int], b: Sequence[int]) -> Sequence[int]:
    rank = max(len(a), len(b))
    first, second = (1,) * (rank - len(a)) + tuple(a), (1,) * (rank - len(b)) + tuple(b)
    if any(p != q and 1 not in (p, q) for p, q in zip(first, second, strict=True)):
        raise ValueError(f"shapes {tuple(a)} and {tuple(b)} do not broadcast")
    return [q if p == 1 else p for p, q in zip(first, second, strict=True)]


def _matmul_shape(a: Tensor, b: Tensor) -> Sequence[int]:
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"shapes {tuple(a.shape)} and {tuple(b.shape)} do not multiply")
    return [*_broadcast(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]]


def _conv_shape(
    x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, *_: Any
) -> Sequence[int]:
    kernel = weight.shape[2:]
    sides = [
        (side + 2 * p - k) // s + 1
        for side, p, k, s in zip(x.shape[2:], padding, kernel, stride, strict=True)
    ]
    return [x.shape[0], weight.shape[0], *sides]


def _linear_shape(x: Tensor, weight: Tensor, *_: Any) -> Sequence[int]:
    return [*x.shape[:-1], weight.shape[0]]


@_handles(torch.conv2d, F.conv2d, shape=_conv_shape)
def _conv(
    r: _Recorder,
    out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    pads = [int(p) for p in padding]
    inputs = [r.name(x), r.name(weight)] + ([] if bias is None else [r.name(bias)])
    r.emit(
        "Conv",
        inputs,
        [out],
        kernel_shape=list(weight.shape[2:]),
        strides=list(stride),
        pads=pads + pads,
        group=groups,
    )
    return out


@_handles(F.linear, shape=_linear_shape)
def _linear(
    r: _Recorder, out: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None = None
) -> Tensor:
    if x.dim() == 2:
        inputs = [r.name(x), r.name(weight)] + ([] if bias is None else [r.name(bias)])
        r.emit("Gemm", inputs, [out], transB=1)
        return out
    transposed = r.name(weight) + ":transposed"
    r.graph.constants.add(transposed)
    r.graph.shapes[transposed] = tuple(reversed(weight.shape))
    assert r.graph.trainable is not None
    r.graph.trainable.add(transposed)
    product = out if bias is None else r.fresh(out.shape)
    r.emit("MatMul", [r.name(x), transposed], [product])
    if bias is not None:
        r.emit("Add", [r.name(product), r.name(bias)], [out])
    return out


@_handles(F.batch_norm, shape=_shape_of_first)
def _batch_norm(
    r: _Recorder,
    out: Tensor,
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    weight: Tensor,
    bias: Tensor,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    assert not training
    inputs = [r.name(t) for t in (x, weight, bias, mean, var)]
    r.emit("BatchNormalization", inputs, [out], epsilon=eps)
    return out


@_handles(F.layer_norm, shape=_shape_of_first)
def _layer_norm(
    r: _Recorder,
    out: Tensor,
    x: Tensor,
    shape: Any,
    weight: Tensor,
    bias: Tensor,
    eps: float = 1e-5,
) -> Tensor:
    inputs = [r.name(x), r.name(weight), r.name(bias)]
    r.emit("LayerNormalization", inputs, [out], axis=-len(shape), epsilon=eps)
    return out


@_handles(F.group_norm, shape=_shape_of_first)
def _group_norm(
    r: _Recorder,
    out: Tensor,
    x: Tensor,
    groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    inputs = [r.name(t) for t in (x, weight, bias) if t is not None]
    r.emit("GroupNormalization", inputs, [out], num_groups=groups, epsilon=eps)
    return out


def _elementwise(op: str) -> Handler:
    def handler(r: _Recorder, out: Tensor, x: Tensor, *_: Any, **__: Any) -> Tensor:
        r.emit(op, [r.name(x)], [out])
        return out

    return handler


for _functions, _op in (
    ((F.relu, torch.relu, torch.relu_), "Relu"),
    ((F.gelu,), "Gelu"),
    ((F.hardswish,), "HardSwish"),
    ((torch.sigmoid, Tensor.sigmoid), "Sigmoid"),
):
    _handles(*_functions, shape=_shape_of_first)(_elementwise(_op))


def _binary(op: str) -> Handler:
    def handler(r: _Recorder, out: Tensor, a: Any, b: Any, *_: Any) -> Tensor:
        if op == "Mul" and not isinstance(a, Tensor):
            a, b = b, a
        r.emit(op, [r.operand(a), r.operand(b)], [out])
        return out

    return handler


def _reflected(op: str) -> Handler:
    def handler(r: _Recorder, out: Tensor, a: Any, b: Any) -> Tensor:
        r.emit(op, [r.operand(b), r.operand(a)], [out])
        return out

    return handler


_handles(Tensor.add, Tensor.__add__, Tensor.__radd__, torch.add, shape=_broadcast_shape)(
    _binary("Add")
)
_handles(Tensor.mul, Tensor.__mul__, Tensor.__rmul__, torch.mul, shape=_broadcast_shape)(
    _binary("Mul")
)
_handles(Tensor.sub, Tensor.__sub__, torch.sub, shape=_broadcast_shape)(_binary("Sub"))
_handles(Tensor.div, Tensor.__truediv__, Tensor.__div__, torch.div, shape=_broadcast_shape)(
    _binary("Div")
)
_handles(Tensor.__rtruediv__, shape=_broadcast_shape)(_reflected("Div"))
_handles(Tensor.matmul, Tensor.__matmul__, torch.matmul, shape=_matmul_shape)(_binary("MatMul"))


@_handles(F.softmax, Tensor.softmax, torch.softmax, shape=_shape_of_first)
def _softmax(r: _Recorder, out: Tensor, x: Tensor, dim: int, *_: Any, **__: Any) -> Tensor:
    r.emit("Softmax", [r.name(x)], [out], axis=dim)
    return out


@_handles(F.scaled_dot_product_attention)
def _attention(r: _Recorder, out: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    # Not ONNX's: training form only. Deployed networks spell attention out.
    r.emit("ScaledDotProductAttention", [r.name(q), r.name(k), r.name(v)], [out])
    return out


@_handles(F.normalize, shape=_shape_of_first)
def _normalize(
    r: _Recorder, out: Tensor, x: Tensor, p: float = 2.0, dim: int = 1, eps: float = 1e-12
) -> Tensor:
    assert p == 2.0
    shape = list(out.shape)
    shape[dim] = 1
    length, safe = r.fresh(shape), r.fresh(shape)
    r.emit("ReduceL2", [r.name(x)], [length], axes=[dim], keepdims=1)
    r.emit("Clip", [r.name(length), r.operand(eps)], [safe])
    r.emit("Div", [r.name(x), r.name(safe)], [out])
    return out


def _reduction(op: str) -> Handler:
    def handler(
        r: _Recorder, out: Tensor, x: Tensor, dim: Any = None, keepdim: bool = False
    ) -> Tensor:
        axes = [dim] if isinstance(dim, int) else list(dim)
        r.emit(op, [r.name(x)], [out], axes=axes, keepdims=int(keepdim))
        return out

    return handler


def _mean_shape(x: Tensor, dim: Any, keepdim: bool = False) -> Sequence[int]:
    return x.sum(dim, keepdim).shape  # a mean on the meta device imports much of torch first


_handles(Tensor.mean, torch.mean, shape=_mean_shape)(_reduction("ReduceMean"))
_handles(Tensor.sum, torch.sum)(_reduction("ReduceSum"))


@_handles(Tensor.reshape, Tensor.flatten, Tensor.unsqueeze, Tensor.squeeze, Tensor.view)
def _reshape(r: _Recorder, out: Tensor, x: Tensor, *_: Any, **__: Any) -> Tensor:
    # A fresh tensor: reshape may hand back its very input.
    result = r.fresh(out.shape)
    r.emit("Reshape", [r.name(x)], [result], shape=list(out.shape))
    return result


@_handles(Tensor.permute)
def _permute(r: _Recorder, out: Tensor, x: Tensor, *order: Any) -> Tensor:
    axes = order[0] if len(order) == 1 and not isinstance(order[0], int) else order
    r.emit("Transpose", [r.name(x)], [out], perm=[a % x.dim() for a in axes])
    return out


@_handles(Tensor.transpose)
def _transpose(r: _Recorder, out: Tensor, x: Tensor, a: int, b: int) -> Tensor:
    axes = list(range(x.dim()))
    axes[a], axes[b] = axes[b], axes[a]
    r.emit("Transpose", [r.name(x)], [out], perm=axes)
    return out


@_handles(Tensor.split, torch.split, Tensor.chunk, torch.chunk)
def _split(
    r: _Recorder, out: tuple[Tensor, ...], x: Tensor, _: Any, dim: int = 0
) -> tuple[Tensor, ...]:
    parts = [int(part.shape[dim]) for part in out]
    if len(parts) == 1:
        return (x,)
    r.emit("Split", [r.name(x)], out, axis=dim % x.dim(), split=parts)
    return out


@_handles(Tensor.unbind)
def _unbind(r: _Recorder, out: tuple[Tensor, ...], x: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    shape = list(x.shape)
    shape[dim] = 1
    pieces = [r.fresh(shape) for _ in out]
    r.emit("Split", [r.name(x)], pieces, axis=dim, split=[1] * len(out))
    for piece, result in zip(pieces, out, strict=True):
        r.emit("Reshape", [r.name(piece)], [result], shape=list(result.shape))
    return out


@_handles(torch.cat)
def _cat(r: _Recorder, out: Tensor, tensors: Sequence[Tensor], dim: int = 0) -> Tensor:
    if len(tensors) == 1:
        return tensors[0]
    r.emit("Concat", [r.name(t) for t in tensors], [out], axis=dim)
    return out


@_handles(Tensor.__getitem__)
def _getitem(r: _Recorder, out: Tensor, x: Tensor, index: Any) -> Tensor:
    index = index if isinstance(index, tuple) else (index,)
    starts, ends, axes = [], [], []
    for axis, item in enumerate(index):
        if not isinstance(item, slice) or item.step not in (None, 1):
            raise NotImplementedError("only plain slices have an ONNX form here")
        if item != slice(None):
            start, end, _ = item.indices(x.shape[axis])
            starts.append(start)
            ends.append(end)
            axes.append(axis)
    r.emit("Slice", [r.name(x)], [out], starts=starts, ends=ends, axes=axes)
    return out


@_handles(F.pad)
def _pad(
    r: _Recorder, out: Tensor, x: Tensor, pad: Any, mode: str = "constant", value: float = 0.0
) -> Tensor:
    assert mode == "constant"
    before, after = [0] * x.dim(), [0] * x.dim()
    for pair in range(len(pad) // 2):
        axis = x.dim() - 1 - pair
        before[axis], after[axis] = pad[2 * pair], pad[2 * pair + 1]
    r.emit("Pad", [r.name(x)], [out], pads=before + after, value=float(value or 0.0))
    return out


def _enlarged_shape(
    x: Tensor, *, scale_factor: Any, mode: str, align_corners: Any, **_: Any
) -> Sequence[int]:
    if type(scale_factor) is not int or mode != "bicubic" or align_corners:
        raise NotImplementedError(
            "no ONNX form for torch operator 'interpolate' but bicubic by an integer scale_factor"
        )
    return [*x.shape[:2], *(side * scale_factor for side in x.shape[2:])]


@_handles(F.interpolate, shape=_enlarged_shape)
def _interpolate(r: _Recorder, out: Tensor, x: Tensor, **_: Any) -> Tensor:
    r.emit("Resize", [r.name(x)], [out], mode="cubic", sizes=list(out.shape))
    return out


@_handles(Tensor.repeat)
def _repeat(r: _Recorder, out: Tensor, x: Tensor, *repeats: int) -> Tensor:
    if math.prod(repeats) == 1:
        return x
    r.emit("Tile", [r.name(x)], [out], repeats=list(repeats))
    return out


@_handles(Tensor.float, Tensor.to, Tensor.contiguous)
def _same(r: _Recorder, out: Tensor, x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x
