"""`live_values`: how many values are alive at once while a graph's operators run in order."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from searchspace.graph import Graph


def live_values(graph: Graph, renaming: Collection[str], overwriting: Collection[str]) -> list[Any]:
    """Return how many values of activations are alive while each operator runs.

    These are what it reads and writes, and what later operators or the graph's reader still need;
    constants are none. An operator that overwrites writes in place of an operand of its output's
    size that nothing reads afterwards, as runtimes do.

    Args:
        graph: nodes in the order in which they run; dimensions may be arrays (n,), of many graphs
            that differ in sizes.
        renaming: operator types that only rename their first input's values.
        overwriting: operator types that can write over an operand.

    Returns:
        A number, or an array (n,), for each node that is not of a renaming type.
    """
    roots: dict[str, str] = {}
    for node in graph.nodes:
        if node.op in renaming:
            roots[node.outputs[0]] = roots.get(node.inputs[0], node.inputs[0])
    reads: list[set[str]] = [
        set()
        if node.op in renaming
        else {roots.get(name, name) for name in node.inputs if name} - graph.constants
        for node in graph.nodes
    ]
    last = {name: index for index, names in enumerate(reads) for name in names}
    last.update((roots.get(name, name), len(reads)) for name in graph.outputs)

    def size(name: str) -> Any:
        return math.prod(graph.shapes[name])

    live: Any = sum(size(name) for name in graph.inputs if name in last)
    found = []
    for index, node in enumerate(graph.nodes):
        if node.op in renaming:
            continue
        ends = [name for name in reads[index] if last[name] == index]
        written = size(node.outputs[0])
        spared: Any = False
        if node.op in overwriting:
            for name in ends:
                spared = spared | (size(name) == written)
        found.append(live + sum(map(size, node.outputs)) - written * spared)
        kept = sum(size(name) for name in node.outputs if last.get(name, -1) > index)
        live = live + kept - sum(map(size, ends))
    return found
