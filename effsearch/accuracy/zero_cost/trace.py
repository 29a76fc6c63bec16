"""The operators that depend on a network's input, in the order in which they run.

Everything is read from one forward pass, whatever classes the network is made of: functional
activations and additions are seen as well as modules.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from searchspace.errors import UserError


@dataclass(frozen=True)
class Node:
    """One operator that depends on the network's input."""

    name: str
    """The function's name, such as "conv2d", "add" or "relu"."""
    parents: tuple[int, ...]
    """Indices of the nodes whose outputs it reads; the network's input is node 0."""
    shape: tuple[int, ...]
    """Shape of its first output."""


@dataclass(eq=False)
class Tracer(TorchFunctionMode):
    """Records the operators that run on tensors computed from the input.

    Attributes:
        input: the network's input, node 0.
        keep: indices of nodes whose outputs to keep in `features`. What is kept can be
            differentiated, and in-place operators that follow do not touch it.
        nodes: the operators, in the order in which they ran.
        features: the outputs kept, by node index.
    """

    input: Tensor
    keep: frozenset[int] = frozenset()
    nodes: list[Node] = field(default_factory=list)
    features: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        self.nodes.append(Node("input", (), tuple(self.input.shape)))
        # Tensors are held, or a freed one's id could come again.
        self._held: dict[int, Tensor] = {id(self.input): self.input}
        self._node_of: dict[int, int] = {id(self.input): 0}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one function and record it where it reads a tracked tensor."""
        kwargs = kwargs or {}
        read = [self._node_of[id(t)] for t in tensors((args, kwargs)) if id(t) in self._node_of]
        result = func(*args, **kwargs)
        if not read:
            return result
        name = getattr(func, "__name__", str(func))
        written = list(tensors(result))
        if name == "__setitem__":
            written = [args[0]]
        if not written:
            return result
        index = len(self.nodes)
        self.nodes.append(
            Node(name.strip("_"), tuple(dict.fromkeys(read)), tuple(written[0].shape))
        )
        if index in self.keep and isinstance(result, Tensor):
            self.features[index] = result
            result = result.clone()
            written = [result]
        for tensor in written:
            self._held[id(tensor)] = tensor
            self._node_of[id(tensor)] = index
        return result

    def node_of(self, tensor: Tensor) -> int | None:
        """The index of the node that wrote a tensor; None where it is not from the input."""
        return self._node_of.get(id(tensor))


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors of nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from tensors(item)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from tensors(item)


def logits(output: Any) -> Tensor:
    """The logits among what a network returns: the last 2-D tensor, as in (features, logits).

    Raises:
        UserError: there is none.
    """
    candidates = [t for t in tensors(output) if t.ndim == 2]
    if not candidates:
        raise UserError("the network has to return logits (N, num_classes), and returns no such")
    return candidates[-1]


@torch.no_grad()
def trace(module: torch.nn.Module, batch: Tensor) -> tuple[list[Node], int]:
    """Run a network once.

    Args:
        module: the network.
        batch: its input.

    Returns:
        The nodes in the order in which they ran, and the index of the one that wrote the logits
        (0 where they do not depend on the input).
    """
    with Tracer(batch) as tracer:
        output = module(batch)
    return tracer.nodes, tracer.node_of(logits(output)) or 0
