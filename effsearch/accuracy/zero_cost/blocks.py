"""Where a network's blocks end: the features that AZ-NAS reads.

AZ-NAS takes the features after the stem and after every block of spaces whose blocks are known.
For an arbitrary network a block is found in the trace of its operators. A *cut* is an operator
whose output every path from the input to the logits passes through; there the network is one
tensor wide. Features are the outputs of

- every cut that joins a residual: an addition or concatenation of two branches of the trunk;
- the last cut before such a branching, if a convolution or linear layer has run since the feature
  before it: the end of a stem, or of a downsampling without a residual;
- in a network with fewer than two of these (a plain chain), the last cut before each change of
  spatial size.

Only feature maps (N, C, H, W) and tokens (N, L, C) count, so classification heads are left out.
Modules given by name replace the search.
"""

import itertools
from collections.abc import Sequence

from torch import Tensor, nn

from effsearch.accuracy.zero_cost.trace import Node, Tracer, tensors, trace
from searchspace.errors import UserError

_JOINS = frozenset({"add", "iadd", "radd", "cat", "concat", "concatenate"})
WEIGHTED_OPERATORS = frozenset(
    {
        *(f"conv{d}d" for d in (1, 2, 3)),
        *(f"conv_transpose{d}d" for d in (1, 2, 3)),
        "linear",
        "bilinear",
        "multi_head_attention_forward",
    }
)


def block_features(
    net: nn.Module, batch: Tensor, blocks: Sequence[str] | None = None
) -> list[Tensor]:
    """Run a network and return the features at the ends of its blocks, with their graph.

    Args:
        net: the network, in the mode in which it is to run.
        batch: images (N, 3, R, R), N at least 2.
        blocks: names of submodules whose outputs are the features; found where None.

    Returns:
        Feature maps (N, C, H, W) or tokens (N, L, C), in the order in which they are computed.

    Raises:
        UserError: a name in `blocks` is none of the network's submodules.
    """
    if blocks is not None:
        return _named_features(net, batch, blocks)
    # Two images tell the graph; with one, batch norm over 1x1 maps has no variance.
    keep = find_blocks(*trace(net, batch[:2]))
    with Tracer(batch, keep=frozenset(keep)) as tracer:
        net(batch)
    return [tracer.features[i] for i in keep if i in tracer.features]


def find_blocks(nodes: Sequence[Node], output: int) -> list[int]:
    """Indices of the nodes that end a block.

    Args:
        nodes: a network's operators in the order in which they ran, the input first.
        output: index of the node that wrote the logits.
    """
    relevant = _between_input_and(output, nodes)
    cuts = _cuts(nodes, relevant, output)
    next_cut = dict(itertools.pairwise(cuts))
    following = dict(itertools.pairwise(relevant))
    found: list[int] = []
    has_weight = False
    for i in relevant:
        has_weight = has_weight or nodes[i].name in WEIGHTED_OPERATORS
        if i not in next_cut or i == 0 or not _is_feature(nodes[i]):
            continue
        # A branch that ends in a product is a gate, part of the block around it.
        branches = next_cut[i] != following[i] and _is_join(nodes, next_cut[i])
        if _is_join(nodes, i) or (branches and has_weight):
            found.append(i)
            has_weight = False
    return found if len(found) > 1 else _resolution_changes(nodes, cuts)


def _named_features(net: nn.Module, batch: Tensor, blocks: Sequence[str]) -> list[Tensor]:
    modules = dict(net.named_modules())
    features: list[Tensor] = []

    def keep(module: nn.Module, inputs: object, output: object) -> object:
        if not isinstance(output, Tensor):
            features.append(next(tensors(output)))
            return output
        features.append(output)
        return output.clone()  # in-place operators that follow must not touch what is kept

    unknown = [name for name in blocks if name not in modules]
    if unknown:
        raise UserError(f"the network has no submodule {unknown[0]!r} to take as a block")
    handles = [modules[name].register_forward_hook(keep) for name in blocks]
    try:
        net(batch)
    finally:
        for handle in handles:
            handle.remove()
    return features


def _between_input_and(output: int, nodes: Sequence[Node]) -> list[int]:
    """Nodes on a path from the input to the output, in order."""
    reached = {output}
    for i in range(output, -1, -1):
        if i in reached:
            reached.update(nodes[i].parents)
    return sorted(reached)


def _cuts(nodes: Sequence[Node], relevant: Sequence[int], output: int) -> list[int]:
    """Nodes on every path: in an order that respects the edges, those that no edge jumps over."""
    cuts = []
    furthest = 0  # the last node that reads one before the node at hand
    children: dict[int, int] = {}
    for i in relevant:
        for parent in nodes[i].parents:
            children[parent] = i
    for i in relevant:
        if furthest <= i:
            cuts.append(i)
        furthest = max(furthest, children.get(i, output))
    return cuts


def _is_feature(node: Node) -> bool:
    return len(node.shape) in (3, 4) and node.shape[-1] > 0


def _is_join(nodes: Sequence[Node], index: int) -> bool:
    node = nodes[index]
    if node.name not in _JOINS or len(node.parents) < 2:
        return False
    if node.name.startswith("c"):
        return True
    return all(nodes[p].shape == node.shape for p in node.parents)


def _resolution_changes(nodes: Sequence[Node], cuts: Sequence[int]) -> list[int]:
    """The last cut of every spatial size that a convolution or linear layer worked at."""
    found: list[int] = []
    has_weight = False
    for a, b in itertools.pairwise(cuts):
        has_weight = has_weight or nodes[a].name in WEIGHTED_OPERATORS
        changes = nodes[a].shape[2:] != nodes[b].shape[2:]
        if changes and has_weight and _is_feature(nodes[a]):
            found.append(a)
            has_weight = False
    return found


def channels_first(feature: Tensor) -> Tensor:
    """A map as (N, C, H, W), which (N, H, W, C) is taken for only where that reading is square.

    Tokens (N, L, C) become (N, C, L).
    """
    if feature.ndim == 3:
        return feature.transpose(1, 2)
    _, a, b, c = feature.shape
    return feature.permute(0, 3, 1, 2) if a == b != c else feature


def as_samples(feature: Tensor) -> Tensor:
    """A channels-first feature (N, C, ...) as (positions, C)."""
    return feature.flatten(2).transpose(1, 2).reshape(-1, feature.shape[1])
