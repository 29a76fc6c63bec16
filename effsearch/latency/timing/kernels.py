"""ONNX Runtime's own profile of a run, credited to the operators that its kernels carry out.

The runtime fuses operators, changes layouts and inserts reshapes. A kernel keeps the name of one
node that it came from; what it inserts lies next to what needs it. So each kernel's time goes to
exactly one operator, and an operator that ran inside another's kernel gets none.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from searchspace import Operator

_SUFFIX = "_kernel_time"
NODE = re.compile(r"^(?P<name>(?P<unit>[^/]+)/[A-Za-z0-9]+_(?P<number>\d+))")
# Kernels of a product that may also carry out the activation or sum that follows it.
_PRODUCTS = {"Conv", "FusedConv", "NhwcFusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"}
_OF_PRODUCER = ("ReorderOutput", "gemm_output_reshape")


@dataclass(frozen=True)
class Kernel:
    """One kernel of a profile.

    Attributes:
        name: name of a node it came from, or of what the runtime inserted.
        op: its operator type in the optimised graph.
        ms: duration; the mean of the calm half of its runs.
    """

    name: str
    op: str
    ms: float


def read_profile(path: str | Path, skip: Collection[int] = (0, 1)) -> list[Kernel]:
    """Return the kernels of ONNX Runtime's profile in order of execution.

    Args:
        path: the JSON file that the session wrote.
        skip: numbers of runs to leave out, as warm-up.
    """
    events = json.loads(Path(path).read_text("utf-8"))
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(_SUFFIX):
            key = (event["name"][: -len(_SUFFIX)], event["args"]["op_name"])
            durations[key].append(event["dur"] / 1e3)
    left_out = set(skip)
    return [
        Kernel(name, op, calm_mean([x for i, x in enumerate(ms) if i not in left_out] or ms))
        for (name, op), ms in durations.items()
    ]


def calm_mean(values: Sequence[float]) -> float:
    """Return the mean between the 10th and 60th percentile; interruptions only add time."""
    ordered = np.sort(np.asarray(values))
    low = int(0.1 * len(ordered))
    return float(ordered[low : max(low + 1, round(0.6 * len(ordered)))].mean())


def credit(
    kernels: Sequence[Kernel], operators: Sequence[Operator]
) -> tuple[list[float], list[int]]:
    """Return the ms and the number of kernels that each operator was credited with.

    Args:
        kernels: of a profile, in order of execution.
        operators: of the profiled graph (form "deploy"), with the graph's node names.
    """
    index = {operator.name: i for i, operator in enumerate(operators)}
    own = [_operator_of(kernel, index, operators) for kernel in kernels]
    behind = [kernel.name.startswith(_OF_PRODUCER) for kernel in kernels]
    return add_up([kernel.ms for kernel in kernels], own, behind, len(operators))


def add_up(
    ms: Sequence[float], own: Sequence[int], behind: Sequence[bool], count: int
) -> tuple[list[float], list[int]]:
    """Return the ms and the number of kernels of each operator.

    Args:
        ms: of each kernel, in order of execution.
        own: number of the operator that it carries out; below 0 where it is only known to lie
            beside one: then the next kernel's, or the one's before.
        behind: whether it would rather belong to the one before.
        count: of operators.
    """
    following = _next_known(own)
    total, kernels = [0.0] * count, [0] * count
    previous = -1
    for value, mine, later, rather_before in zip(ms, own, following, behind, strict=True):
        target = mine
        if target < 0:
            first, second = (previous, later) if rather_before else (later, previous)
            target = first if first >= 0 else second
        else:
            previous = mine
        if target >= 0:
            total[target] += value
            kernels[target] += 1
    return total, kernels


def _operator_of(kernel: Kernel, index: dict[str, int], operators: Sequence[Operator]) -> int:
    match = NODE.match(kernel.name)
    position = index.get(match["name"], -1) if match else -1
    while (
        position > 0
        and kernel.op in _PRODUCTS
        and operators[position].kind in ("activation", "elementwise")
    ):
        position -= 1
    return position


def _next_known(own: Sequence[int]) -> list[int]:
    result = [-1] * len(own)
    known = -1
    for i in range(len(own) - 1, -1, -1):
        if own[i] >= 0:
            known = own[i]
        result[i] = known
    return result
