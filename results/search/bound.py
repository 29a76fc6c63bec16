"""What no member of a space can score: a proven bound, by branch and bound.

    python -m results.search.bound --device iphone12 --budget-ms 1 2 4 --out results/search

Members of one resolution are split into boxes by totals of theirs. On a box, a line in the totals
lies below the log error, and a plane below the latency's quantile; with multipliers for the budget
and the box, the least value over all members is a shortest path. The multipliers are improved by
cutting planes (Kelley, "The cutting-plane method for solving convex programs", 1960), and the box
with the worst bound is split, until the time is over. Any multipliers give a bound.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from effsearch.accuracy.features import TOTALS
from effsearch.accuracy.imagenet import ImagenetEstimate
from effsearch.latency import DeviceTable
from effsearch.latency.models.fitted import FittedTable
from effsearch.search.considering.search import search_by_totals
from effsearch.search.evaluation import Evaluator
from effsearch.search.limits import Limits
from results.search.benchmark import FOLDER, machine
from results.search.bound_chain import Chain
from results.search.bound_terms import (
    BOXED,
    SPILL,
    WIDE,
    Box,
    LatencyPlane,
    Relaxation,
    log_error_of,
    score_bound,
)
from searchspace import Architecture, SearchSpace, UserError, zoo
from searchspace.units import units

Array = NDArray[np.float64]
_INDEX = {name: i for i, name in enumerate(TOTALS)}
# What a box costs in log error where it is wide, and per ratio of its ends where it is not.
_COSTS = {
    "layers.gmacs": (0.055, 0.05),
    "gmacs": (0.0, 0.004),
    "blocks": (0.05, 0.03),
    "mparams": (0.03, 0.02),
    "mixers": (0.03, 0.012),
}
_STEPS, _TOUCHES = 12, 3  # cutting planes a touch, and touches a box
_SCALE = 0.07  # log error for the whole budget: where the first multiplier starts


@dataclass(frozen=True)
class Node:
    """A box of members at one resolution.

    Attributes:
        log_error: that none has less of.
        ladder: which resolution.
        budget_ms: within which their latency is.
        box: ranges of totals.
        near: totals and latency features at which the next tangents touch.
        multipliers: to begin with.
    """

    log_error: float
    ladder: Ladder
    budget_ms: float
    box: Box
    near: Array
    multipliers: Array


class Ladder:
    """Everything at one resolution.

    Attributes:
        resolution: input side in pixels.
        estimate: the score's.
        searches: shortest paths that were found.
    """

    def __init__(
        self,
        space: SearchSpace,
        resolution: int,
        source: ImagenetEstimate,
        table: DeviceTable,
        confidence: float = 0.8,
    ) -> None:
        if not isinstance(table.model, FittedTable):
            raise ValueError(f"{table.name}: no fitted table; latencies of others are not bounded")
        self.resolution = resolution
        self.estimate, self._table = source.estimate, table.model
        self._confidence = confidence
        self._chain = Chain(space, resolution)
        self._totals = source.units_features(self._chain.units)
        self._latency = table.units_features(self._chain.units)
        # No line in a head's sizes, unlike all else: left away, which costs no more.
        self._latency[[unit.role == "head" for unit in self._chain.units], SPILL] = 0
        self.searches = 0

    def root(self, near: Array, budget_ms: float) -> Node:
        """Return the box of all members.

        Args:
            near: totals and latency features of a good network.
            budget_ms: within which the latency's quantile is.
        """
        plane = self._plane(near)
        box = {}
        for name in BOXED:
            amount = self._totals[:, _INDEX[name]]
            low = self._chain.cheapest(amount).cost
            most = min(
                rate * (budget_ms - plane.constant)
                - self._chain.cheapest(rate * plane.parts - amount).cost
                for rate in np.geomspace(1e-2, 1e3, 26)
            )
            box[name] = low * (1 - 1e-9), max(low, most) * (1 + 1e-9)
        start = np.zeros(1 + 2 * len(BOXED))
        start[0] = _SCALE
        return Node(-math.inf, self, budget_ms, box, near, start)

    def bounded(self, node: Node, enough: float) -> Node:
        """Return the node with its bound improved; no further than enough."""
        best, near = node, node.near
        for touch in range(_TOUCHES):
            found, mixed = self._bounded(replace(best, near=near), enough)
            if found.log_error > best.log_error:
                best = found
            if mixed is None or best.log_error >= enough:
                break
            near = (near + mixed) / 2 if touch else mixed
        return replace(best, near=near)

    def _bounded(self, node: Node, enough: float) -> tuple[Node, Array | None]:
        """Return the node with tangents at its `near`, and a mix of the paths that hold it back."""
        near = _inside(node.near, node.box)
        below = Relaxation(
            self.estimate, self.resolution, self._totals, node.box, near[: len(TOTALS)]
        )
        plane = self._plane(near)
        rows, constants = [plane.parts / node.budget_ms], [plane.constant / node.budget_ms - 1]
        for name, (low, high) in node.box.items():
            amount = self._totals[:, _INDEX[name]] / ((low + high) / 2)
            rows += [-amount, amount]
            constants += [2 * low / (low + high), -2 * high / (low + high)]
        excess, constant = np.array(rows), np.array(constants)
        best, at, reach = -math.inf, node.multipliers, 0.12
        trial, cuts, paths = at, [], []
        weights = np.zeros(0)
        for step in range(_STEPS):
            path = self._chain.cheapest(below.parts + trial @ excess, below.per_width)
            self.searches += 1
            value = path.cost + below.constant + float(trial @ constant)
            slope = excess[:, path.rows] @ np.array(path.counts) + constant
            cuts.append((value, slope, trial))
            paths.append(path)
            if value > best:
                best, at, reach = value, trial, reach * (1.5 if step else 1)
            else:
                reach *= 0.6
            if best >= enough:
                return replace(node, log_error=best, multipliers=at), None
            result: Any = linprog(
                np.append(np.zeros(len(at)), -1.0),
                A_ub=np.array([np.append(-s, 1.0) for _, s, _ in cuts]),
                b_ub=np.array([v - float(s @ t) for v, s, t in cuts]),
                bounds=[*((max(0.0, a - reach), a + reach) for a in at), (None, None)],
            )
            trial, weights = result.x[:-1], np.maximum(-result.ineqlin.marginals, 0)
            if -float(result.fun) - best < 3e-4:
                break
        mixed = np.zeros(len(near))
        for weight, path in zip(weights / max(weights.sum(), 1e-12), paths, strict=True):
            rows_of = np.hstack([self._totals[path.rows], self._latency[path.rows]])
            mixed += weight * (np.array(path.counts) @ rows_of)
        return replace(node, log_error=best, multipliers=at), mixed

    def _plane(self, near: Array) -> LatencyPlane:
        return LatencyPlane(self._table, self._confidence, self._latency, near[len(TOTALS) :])


def halves(node: Node) -> list[Node]:
    """Return the two boxes that a box is split into, across what seems to cost most."""

    def cost(name: str) -> float:
        low, high = node.box[name]
        wide, narrow = _COSTS[name]
        ratio = high / max(low, 1e-12)
        if ratio > WIDE:
            return wide + 0.002 * math.log(ratio) + 0.5 * (name == BOXED[0] and ratio > 3)
        return narrow * (ratio - 1)

    name = max(node.box, key=cost)
    low, high = node.box[name]
    middle = math.sqrt(low * high)
    return [replace(node, box={**node.box, name: part}) for part in ((low, middle), (middle, high))]


def bound(
    ladders: Sequence[Ladder],
    near: Array,
    budget_ms: float,
    reached: float,
    seconds: float = math.inf,
    boxes: float = math.inf,
    gap: float = 0.02,
) -> dict[str, Any]:
    """Return what the lower bound of no member's score exceeds within a budget.

    Args:
        ladders: of all resolutions.
        near: totals and latency features of a network to begin with.
        budget_ms: within which the latency's quantile is.
        reached: the best lower bound known.
        seconds: after which no box is looked at.
        boxes: to look at, at most.
        gap: points above what is reached that are good enough.

    Returns:
        The bound and the work.
    """
    began = time.perf_counter()
    enough = log_error_of(ladders[0].estimate, reached + gap)
    searches = sum(ladder.searches for ladder in ladders)
    # Numbers keep nodes of equal bounds in order; a node is bounded before it is split.
    heap = [(-math.inf, n, ladder.root(near, budget_ms), False) for n, ladder in enumerate(ladders)]
    last, looked, least = len(heap), 0, math.inf
    while heap and looked < boxes and time.perf_counter() - began < seconds:
        log_error, number, node, bounded = heapq.heappop(heap)
        if bounded:
            for half in halves(node):
                last += 1
                heapq.heappush(heap, (log_error, last, half, False))
            continue
        looked += 1
        node = node.ladder.bounded(node, enough)
        if node.log_error >= enough:
            least = min(least, node.log_error)
        else:
            heapq.heappush(heap, (node.log_error, number, node, True))
    least = min([least, *(log_error for log_error, *_ in heap)])
    return {
        "bound": round(score_bound(ladders[0].estimate, least), 3),
        "seconds": round(time.perf_counter() - began, 1),
        "log_error": least,
        "boxes": looked,
        "open": len(heap),
        "shortest_paths": sum(ladder.searches for ladder in ladders) - searches,
    }


def _inside(near: Array, box: Box) -> Array:
    """Return totals moved into a box, with what belongs to them."""
    moved = near.copy()
    for names in (
        (
            "layers.gmacs",
            "layers.gmacs.log2_side",
            "layers.gmacs.log2_side_squared",
            "gmacs",
            "mactivations",
        ),
        ("gmacs",),
        ("blocks", "attention"),
        ("mparams", "head.mparams"),
        ("mixers", "mixers.log2_kernel"),
    ):
        low, high = box[names[0]]
        value = max(moved[_INDEX[names[0]]], 1e-9)
        for name in names:
            moved[_INDEX[name]] *= min(max(value, low), high) / value
    return moved


def _latency(table: DeviceTable, network: Architecture) -> Array:
    features: Array = table.units_features([placed.unit for placed in units(network)]).sum(0)
    return features


def main(arguments: Sequence[str] | None = None) -> None:
    """Bound, print the results and write them."""
    parser = argparse.ArgumentParser(prog="python -m results.search.bound")
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--device", default="iphone12")
    parser.add_argument("--budget-ms", type=float, nargs="+", default=[1.0, 2.0, 4.0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for each budget")
    parser.add_argument("--consider", type=int, default=200_000, help="to find the best known")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args(arguments)
    given = sys.argv[1:] if arguments is None else list(arguments)
    space, table = SearchSpace.load(options.space), DeviceTable.load(options.device)
    source = ImagenetEstimate.load()
    began = time.perf_counter()
    network = zoo.load("swiftformer_l1")
    near = np.concatenate([source.features(network), _latency(table, network)])
    squares = [side for side in space.spec.resolution if isinstance(side, int)]
    if len(squares) < len(space.spec.resolution):
        raise UserError(f"{options.space}: has images that are no squares, which are not bounded")
    ladders = [Ladder(space, side, source, table) for side in squares]
    prepared = round(time.perf_counter() - began, 1)
    rows = []
    for budget_ms in options.budget_ms:
        evaluator, limits = Evaluator(table, source, 0.8), Limits(budget_ms, None, None)
        found = search_by_totals(space, evaluator, limits, options.consider, 1000, seed=0)
        assert found is not None
        fits = [record.outcome.lower_bound for record in found.records if record.feasible]
        reached = max(fits, default=0.0)
        row = bound(ladders, near, budget_ms, reached, options.seconds)
        rows.append({"budget_ms": budget_ms, "reached": round(reached, 3), **row})
        print(json.dumps(rows[-1]), flush=True)
    body = {
        "command": " ".join(["python -m results.search.bound", *given]),
        "machine": machine(),
        "what": "no member's lower bound of top-1 (the score) is above `bound` within the budget; "
        "`reached` is the best found",
        "seconds_of_units": prepared,
        "rows": rows,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "bound.json").write_text(json.dumps(body, indent=2) + "\n")


if __name__ == "__main__":
    main()
