"""`Chain`: the cheapest member of a space at one resolution, where each unit has a cost.

Costs add up over units, and a unit depends on its stage's width and the one before, so the cheapest
member is a shortest path over stages, widths and memory layouts (dynamic programming). Two things
are relaxed, so that the path costs no more than any member: a head's hidden sizes may lie between
the listed ones, and a head with such sizes costs what its corners say in between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchspace import SearchSpace
from searchspace import architecture as components
from searchspace.lookup import LAYOUTS
from searchspace.schema import BLOCKS, DOWNSAMPLINGS, HEADS, STEMS
from searchspace.space_file import NONE
from searchspace.units import Unit, block_unit

Array = NDArray[np.float64]
Rows = NDArray[np.int64]
SIZES = ("conv_width", "linear_width")  # of a head, relaxed; the last feeds the classifier


@dataclass
class Path:
    """A cheapest path.

    Attributes:
        cost: of it.
        rows: which of the chain's units it has.
        counts: how often; fractions where a head's size lies between two.
    """

    cost: float
    rows: list[int] = field(default_factory=list)
    counts: list[float] = field(default_factory=list)

    def add(self, row: int, count: float = 1) -> None:
        """Add a unit."""
        self.rows.append(int(row))
        self.counts.append(float(count))


@dataclass(frozen=True)
class _Place:
    """Stage `index` at a stride: its widths, and rows of layout changes by the layout wanted."""

    index: int
    stride: int
    side: int
    widths: Rows
    changes: tuple[Rows, ...]


class Chain:
    """All units that members have at one resolution.

    Attributes:
        units: each once; costs are given in this order.
    """

    def __init__(self, space: SearchSpace, resolution: int) -> None:
        self._space, self._resolution = space, resolution
        self._numbers: dict[Unit, int] = {}
        spec = space.spec
        self._downs = [(t, o) for t, os in spec.downsamples.items() for o in _variants(os)]
        self._down_layouts = [LAYOUTS.index(DOWNSAMPLINGS[t].layout) for t, _ in self._downs]
        self._places: dict[tuple[int, int], _Place] = {}
        self._blocks: dict[tuple[str, int], tuple[Rows, Rows]] = {}  # widths; rows (w, v, pattern)
        self._between: dict[
            tuple[int, int], Rows
        ] = {}  # (before, after, downsampling), -1 for none
        # Layout, stride of the first stage, row by width or of all; downsamplings and changes.
        self._stems: list[tuple[int, int, Rows, tuple[list[list[int]], list[Rows]] | None]] = []
        self._least: dict[tuple[str, int], tuple[Rows, Array]] = {}
        self._heads: dict[tuple[int, int], list[tuple[str, Rows]]] = {}
        for type_, entry in spec.stems.items():
            for options in _variants(dict(entry.axes())):
                self._enter(type_, options)
        for place in self._places.values():
            self._stage(place)
        self.units = list(self._numbers)

    def cheapest(self, cost: Array, per_width: float = 0.0) -> Path:
        """Return the cheapest path.

        Args:
            cost: of each unit.
            per_width: more cost, divided by the classifier's input width.
        """
        self._least.clear()
        runs = {key: self._run(place, cost) for key, place in self._places.items()}
        best: tuple[float, Any] = (math.inf, None)
        for stride in sorted({stride for index, stride in self._places if index == 0}):
            enter, begins = self._begin(self._places[0, stride], cost)
            trail: list[Any] = []
            key = (0, stride)
            while True:
                run = runs[key]
                total = enter[:, None, :] + run.cost
                before = total.argmin(0)
                after = total.min(0)
                trail.append((key, before, begins))
                if key[0] + 1 in self._space.spec.counts:
                    for found in self._end(key, after, cost, per_width):
                        if found[0] < best[0]:
                            best = found[0], (found[1:], list(trail), after)
                following = key[0] + 1, 2 * key[1]
                if following not in self._places:
                    break
                enter, begins = self._between_stages(key, after, cost)
                key = following
        return self._traced(best, runs, cost)

    def _number(self, unit: Unit) -> int:
        return self._numbers.setdefault(unit, len(self._numbers))

    def _place(self, index: int, stride: int, side: int) -> _Place:
        known = self._places.get((index, stride))
        if known is None:
            widths = np.array(self._space.spec.stages[index].width)
            low, high = self._space.spec.shape.width.get(stride, (0, math.inf))
            widths = widths[(widths >= low) & (widths <= high)]
            changes = tuple(self._changes(widths, side))
            known = self._places[index, stride] = _Place(index, stride, side, widths, changes)
        if known.side != side:
            raise ValueError(f"stride {stride} has two sides at {self._resolution} px")
        return known

    def _changes(self, widths: Sequence[int] | Rows, side: int) -> list[Rows]:
        return [
            np.array(
                [self._number(Unit("layout", name, w, w, (side, side))) for w in map(int, widths)]
            )
            for name in LAYOUTS
        ]

    def _enter(self, type_: str, options: Mapping[str, Any]) -> None:
        """Add a stem, and the stages that may follow."""
        own, stride = options.get("width", 0), options["stride"]
        rest = {k: v for k, v in options.items() if k not in ("width", "stride")}
        side = -(-self._resolution // stride)
        first = stride
        into = side
        if own:
            first, into = 2 * stride, -(-side // 2)
        place = self._place(0, first, into)
        rows = []
        for width in [own] if own else place.widths.tolist():
            stem = components.stem(type_, width=width, stride=stride, **rest)
            settings = (("stride", stem.stride), *stem.options)
            size = self._resolution, self._resolution
            rows.append(self._number(Unit("stem", type_, 3, width, size, settings)))
        follows = None
        if own:
            follows = self._downsampled(own, side, place.widths), self._changes([own], side)
        self._stems.append((LAYOUTS.index(STEMS[type_].layout), first, np.array(rows), follows))
        for index in range(1, max(self._space.spec.counts)):
            before = place
            into = -(-into // 2)
            place = self._place(index, before.stride * 2, into)
            key = (before.index, before.stride)
            if key not in self._between:
                self._between[key] = np.array(
                    [self._downsampled(int(w), before.side, place.widths) for w in before.widths]
                )

    def _downsampled(self, before: int, side: int, widths: Rows) -> list[list[int]]:
        """Return rows of downsamplings to each width, -1 where it may not follow."""
        low, high = self._space.spec.shape.growth or (0, math.inf)
        options_of = [(t, components.downsample(t, **o).options) for t, o in self._downs]
        return [
            [
                self._number(Unit("downsample", t, before, w, (side, side), options))
                for t, options in options_of
            ]
            if low * before <= w <= high * before
            else [-1] * len(self._downs)
            for w in widths.tolist()
        ]

    def _stage(self, place: _Place) -> None:
        spec = self._space.spec
        stage = spec.stages[place.index]
        for type_ in {*stage.blocks, *stage.tails} - {NONE}:
            known = self._blocks.get((type_, place.stride), (np.zeros(0, np.int64), None))[0]
            widths = np.union1d(known, place.widths)
            options = _variants(spec.blocks[type_])
            rows = [[self._run_rows(type_, o, int(w), place.side) for o in options] for w in widths]
            self._blocks[type_, place.stride] = widths, np.array(rows)
        if place.index + 1 in spec.counts:
            self._heads[place.index, place.stride] = [
                (type_, np.array([self._head_rows(type_, o, int(w), place) for w in place.widths]))
                for type_, o in spec.heads.items()
            ]

    def _run_rows(self, type_: str, options: Mapping[str, Any], width: int, side: int) -> list[int]:
        block = components.block(type_, **options)
        patterns = BLOCKS[type_].patterns
        lengths = [len(v) for n, v in block.options if n in patterns and isinstance(v, tuple)]
        repeats = range(math.lcm(*lengths))
        return [self._number(block_unit(block, width, (side, side), repeat)) for repeat in repeats]

    def _head_rows(
        self, type_: str, options: Mapping[str, Sequence[Any]], width: int, place: _Place
    ) -> list[list[int]]:
        """Return rows of a head's variants, the ends of its sizes in place of all their values.

        The last axis is the classifier's input width, where that is a size.
        """
        ends = {n: (v[0], v[-1]) if n in SIZES else tuple(v) for n, v in options.items()}
        ordered = dict(sorted(ends.items(), key=lambda item: item[0] in SIZES))
        last = len(ends.get(SIZES[-1], (None,)))
        made = [components.head(type_, **o).options for o in _variants(ordered)]
        rows = [self._number(Unit("head", type_, width, 1000, 2 * (place.side,), o)) for o in made]
        return [rows[at : at + last] for at in range(0, len(rows), last)]

    def _run(self, place: _Place, cost: Array) -> _Runs:
        """Return the cheapest blocks of a stage by layout before and after, and width."""
        stage = self._space.spec.stages[place.index]
        runs = _Runs(len(place.widths))
        mains = {t: self._cheapest_run(t, place, stage.depth, cost) for t in stage.blocks}
        tails = {
            t: self._cheapest_run(t, place, stage.tail_depth, cost)
            for t in stage.tails
            if t != NONE
        }
        for type_, (main, main_rows) in mains.items():
            first = LAYOUTS.index(BLOCKS[type_].layout)
            for tail in stage.tails:
                # A tail of the blocks' own type is no tail.
                total, parts, last = main, [main_rows], first
                if tail not in (NONE, type_):
                    last = LAYOUTS.index(BLOCKS[tail].layout)
                    total, parts = main + tails[tail][0], [main_rows, tails[tail][1]]
                    if last != first:
                        total = total + cost[place.changes[last]]
                        parts = [*parts, (place.changes[last][:, None], np.ones((len(total), 1)))]
                for before in range(len(LAYOUTS)):
                    if before == first:
                        runs.offer(before, last, total, parts)
                    else:
                        change = place.changes[first]
                        more = [*parts, (change[:, None], np.ones((len(total), 1)))]
                        runs.offer(before, last, total + cost[change], more)
        return runs

    def _cheapest_run(
        self, type_: str, place: _Place, depths: Sequence[int], cost: Array
    ) -> tuple[Array, tuple[Rows, Array]]:
        """Return the cheapest run of one type (w,), with its units and how often (w, pattern)."""
        widths, rows = self._blocks[type_, place.stride]
        inside = np.searchsorted(widths, place.widths)
        each, length = np.arange(len(inside)), rows.shape[2]
        if length == 1:  # then the cheapest variant is that of one block
            if (type_, place.stride) not in self._least:
                costs = cost[rows[:, :, 0]]
                self._least[type_, place.stride] = costs.argmin(1), costs.min(1)
            variants, least = (values[inside] for values in self._least[type_, place.stride])
            often = np.where(least < 0, depths[-1], depths[0]).astype(float)
            return often * least, (rows[inside, variants], often[:, None])
        counts = [[max(0, -(-(d - r) // length)) for r in range(length)] for d in depths]
        often = np.array(counts, float)
        total = often @ np.moveaxis(cost[rows[inside]], 2, 1)  # (w, depth, variant)
        flat = total.reshape(len(inside), -1)
        at = flat.argmin(1)
        depth, variant = np.divmod(at, rows.shape[1])
        return flat[each, at], (rows[inside, variant], often[depth])

    def _begin(self, place: _Place, cost: Array) -> tuple[Array, Any]:
        """Return what it costs to enter the first stage, by layout and width."""
        enter = np.full((len(LAYOUTS), len(place.widths)), math.inf)
        begins: dict[tuple[int, int], list[int]] = {}

        def offer(layout: int, at: int, rows: list[int]) -> None:
            total = float(cost[rows].sum())
            if total < enter[layout, at]:
                enter[layout, at], begins[layout, at] = total, rows

        for layout, stride, rows, follows in self._stems:
            if stride != place.stride:
                continue
            if follows is None:
                for at, row in enumerate(rows):
                    offer(layout, at, [row])
                continue
            table, changes = follows
            for at, downs in enumerate(table):
                for down, wanted in zip(downs, self._down_layouts, strict=True):
                    if down >= 0:
                        change = [] if wanted == layout else [int(changes[wanted][0])]
                        offer(wanted, at, [int(rows[0]), *change, down])
        return enter, begins

    def _between_stages(
        self, key: tuple[int, int], after: Array, cost: Array
    ) -> tuple[Array, dict[int, tuple[Rows, Rows, Rows]]]:
        """Return what it costs to enter the next stage, and where from: place, layout, row."""
        place, table = self._places[key], self._between[key]
        enter = np.full((len(LAYOUTS), table.shape[1]), math.inf)
        origin = {
            layout: tuple(np.zeros(table.shape[1], np.int64) for _ in range(3))
            for layout in range(len(LAYOUTS))
        }
        for number, layout in enumerate(self._down_layouts):
            rows = table[:, :, number]
            changed = after + np.where(
                np.arange(len(LAYOUTS))[:, None] == layout, 0, cost[place.changes[layout]]
            )
            left = changed.argmin(0)
            total = changed.min(0)[:, None] + np.where(rows >= 0, cost[rows], math.inf)
            at = total.argmin(0)
            least = total.min(0)
            better = least < enter[layout]
            enter[layout] = np.where(better, least, enter[layout])
            each = np.arange(len(at))
            for kept, new in zip(origin[layout], (at, left[at], rows[at, each]), strict=True):
                kept[better] = new[better]
        return enter, origin  # type: ignore[return-value]

    def _end(self, key: tuple[int, int], after: Array, cost: Array, per_width: float) -> Any:
        """Yield ends: cost, width, layout, head's rows and weights, whether it changes."""
        place = self._places[key]
        for type_, rows in self._heads[key]:
            wanted = LAYOUTS.index(HEADS[type_].layout)
            options: Any = self._space.spec.heads[type_]
            costs = cost[rows]  # (w, corners of the first size, of the second)
            if rows.shape[2] == 1:
                best, share = costs[:, 0, 0] + per_width / place.widths, None
                corner = np.zeros(len(best), np.int64)
            else:
                low, high = options["linear_width"][0], options["linear_width"][-1]
                slope = (costs[:, :, 1] - costs[:, :, 0]) / (high - low)
                with np.errstate(divide="ignore"):
                    size = np.sqrt(
                        np.where(slope > 0, per_width / np.maximum(slope, 1e-300), high**2)
                    )
                size = np.clip(size, low, high)
                totals = costs[:, :, 0] + slope * (size - low) + per_width / size
                corner = totals.argmin(1)
                best = totals.min(1)
                share = (np.take_along_axis(size, corner[:, None], 1)[:, 0] - low) / (high - low)
            for layout in range(len(LAYOUTS)):
                total = after[layout] + best
                if layout != wanted:
                    total = total + cost[place.changes[wanted]]
                at = int(total.argmin())
                change = [] if layout == wanted else [int(place.changes[wanted][at])]
                chosen = rows[at, corner[at]]
                weights = [1.0] if share is None else [1 - share[at], share[at]]
                yield float(total[at]), at, layout, chosen, weights, change

    def _traced(self, best: tuple[float, Any], runs: Mapping[Any, _Runs], cost: Array) -> Path:
        """Return the path that ends where the best one does."""
        total, ((at, layout, rows, weights, change), trail, _) = best
        path = Path(total)
        for row, weight in zip(rows, weights, strict=True):
            path.add(row, weight)
        for row in change:
            path.add(row)
        for key, before, begins in reversed(trail):
            entered = int(before[layout, at])
            for unit_rows, often in runs[key].parts[entered, layout][
                int(runs[key].choice[entered, layout, at])
            ]:
                for row, count in zip(unit_rows[at], often[at], strict=True):
                    path.add(row, count)
            if key[0] == 0:
                for row in begins[entered, at]:
                    path.add(row)
                break
            came, left, row = (int(values[at]) for values in begins[entered])
            path.add(row)
            index = key[0] - 1, key[1] // 2
            if left != entered:
                path.add(self._places[index].changes[entered][came])
            at, layout = came, left
        return path


class _Runs:
    """The cheapest blocks of a stage by layout before and after, and width.

    Attributes:
        cost: (layouts, layouts, widths).
        choice: which of `parts` is the cheapest, likewise.
        parts: units and how often, by layouts.
    """

    def __init__(self, widths: int) -> None:
        shape = (len(LAYOUTS), len(LAYOUTS), widths)
        self.cost = np.full(shape, math.inf)
        self.choice = np.zeros(shape, np.int64)
        self.parts: dict[tuple[int, int], list[list[tuple[Rows, Array]]]] = {}

    def offer(self, before: int, after: int, cost: Array, parts: list[tuple[Rows, Array]]) -> None:
        """Take what is cheaper."""
        known = self.parts.setdefault((before, after), [])
        better = cost < self.cost[before, after]
        self.cost[before, after][better] = cost[better]
        self.choice[before, after][better] = len(known)
        known.append(parts)


def _variants(options: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [{}]
    for name, values in options.items():
        found = [{**one, name: value} for one in found for value in values]
    return found
