"""`Variation`: sampling, mutation and crossover of whole populations of encoded networks.

The rules are those of `SearchSpace.sample`, `mutate` and `crossover`, for many networks at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchspace.schema import SEGMENTATION
from searchspace.size_steps import Size
from searchspace.space import SearchSpace
from searchspace.space_file import NONE

Codes = NDArray[np.int16]
Rows = NDArray[np.bool_]
Integers = NDArray[np.int64]

INACTIVE = -1


class Variation:
    """Random members of a space, as codes (n, axes) with -1 where an axis is inactive.

    Attributes:
        space: the space.
        ratio: widths are drawn from values that lie at least this factor apart, so that fewer
            distinct parts occur; 1 for all values.
    """

    def __init__(self, space: SearchSpace, ratio: float = 1.0) -> None:
        self.space, self.ratio = space, ratio
        self._names = list(space.axes)
        self._values = list(space.axes.values())
        self._columns = {name: i for i, name in enumerate(self._names)}
        self._lengths = np.array([len(v) for v in self._values], np.int64)
        self._sizes = {
            i: Size.of(np.array(values, float), _ratio(name, ratio))
            for i, (name, values) in enumerate(space.axes.items())
            if name in space.sizes
        }
        rng = np.random.default_rng(0x5EED)
        self._multipliers = rng.integers(1, 2**63, len(self._names), np.uint64) * 2 + 1
        self._types = [
            i
            for i, name in enumerate(self._names)
            if name in ("stages", "stem") or name.endswith((".block", ".tail", ".stride"))
        ]
        groups = [name.split(".")[0] for name in self._names]
        order = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        self._groups = np.array([order[group] for group in groups], np.int64)

    def sample(self, count: int, rng: np.random.Generator) -> Codes:
        """Return random members."""
        return self.complete(np.full((count, len(self._names)), INACTIVE, np.int16), rng)

    def mutate(self, codes: Codes, changes: Integers, rng: np.random.Generator) -> Codes:
        """Return members that differ in some axes, sizes by a step (and in what that opens).

        Args:
            codes: members (n, axes).
            changes: how many axes change in each, (n,); fewer where it has not so many.
            rng: source of randomness.
        """
        changed = np.array(codes, order="F")
        ranges = self._ranges(changed)
        free = self._free(changed, ranges)
        count = np.maximum(free.sum(axis=1), 1)
        ranks = np.cumsum(free, axis=1, dtype=np.int16)
        for number in range(int(changes.max(initial=0))):
            rows = np.flatnonzero(changes > number)
            rank = (rng.random(len(rows)) * count[rows]).astype(np.int16)
            axes = (ranks[rows] <= rank[:, None]).sum(axis=1)
            order = np.argsort(axes, kind="stable")
            for chosen in np.split(rows[order], np.flatnonzero(np.diff(axes[order])) + 1):
                if not len(chosen):
                    continue
                axis = int(axes[np.searchsorted(rows, chosen[0])])
                if axis == codes.shape[1]:  # nothing can change
                    continue
                low, high = ranges.get(axis, (None, None))
                least = np.zeros(len(chosen), np.int64) if low is None else low[chosen]
                most = (
                    np.full(len(chosen), self._lengths[axis] - 1) if high is None else high[chosen]
                )
                changed[chosen, axis] = self._step(axis, codes[chosen, axis], least, most, rng)
        return self.complete(changed, rng)

    def crossover(self, first: Codes, second: Codes, rng: np.random.Generator) -> Codes:
        """Return members that take axes from two parents (n, axes) each.

        Half of them take every axis from either, the others stem, stages and head whole.
        """
        alone = rng.random(first.shape, np.float32) < 0.5
        together = rng.random((len(first), int(self._groups.max()) + 1), np.float32) < 0.5
        whole = rng.random(len(first)) < 0.5
        mask = np.where(whole[:, None], together[:, self._groups], alone)
        child, other = np.where(mask, first, second), np.where(mask, second, first)
        return self.complete(np.where(child < 0, other, child), rng)

    def neighbours(self, code: Codes, rng: np.random.Generator) -> Codes:
        """Return members that differ in one axis (and in what that opens).

        Types and options take every other value, sizes some of those that a step reaches.

        Args:
            code: one member (axes,).
            rng: chooses what is opened.
        """
        ranges = self._ranges(code[None])
        found = []
        for axis in np.flatnonzero(self._free(code[None], ranges)[0]).tolist():
            low, high = (int(v[0]) for v in ranges.get(axis, ([0], [self._lengths[axis] - 1])))
            others = np.arange(low, high + 1)
            size = self._sizes.get(axis)
            if size is not None:
                others = size.near(int(code[axis]), low, high)
            others = others[others != code[axis]]
            rows = np.repeat(code[None], len(others), axis=0)
            rows[:, axis] = others
            found.append(rows)
        return self.complete(np.concatenate(found), rng)

    def rounded(self, codes: Codes, rng: np.random.Generator) -> Codes:
        """Return members with their widths moved to the nearest that are drawn."""
        moved = codes.copy()
        for axis, size in self._sizes.items():
            active = codes[:, axis] >= 0
            moved[active, axis] = size.nearest[codes[active, axis]]
        return self.complete(moved, rng)

    def merged(self, base: Codes, first: Codes, second: Codes, rng: np.random.Generator) -> Codes:
        """Return members with the changes of two others to one base.

        Args:
            base: (axes,).
            first: members (n, axes); where they differ from the base, so does the result.
            second: members (n, axes), likewise where the first do not.
            rng: chooses what is opened.
        """
        return self.complete(np.where(first != base, first, second), rng)

    def hashes(self, codes: Codes) -> NDArray[np.uint64]:
        """Return 64-bit hashes (n,) of members; equal networks have equal ones."""
        return self._hashed(codes, range(len(self._names)))

    def designs(self, codes: Codes) -> NDArray[np.uint64]:
        """Return 64-bit hashes (n,) of members' stems, stage counts and types of blocks."""
        return self._hashed(codes, self._types)

    def _hashed(self, codes: Codes, axes: Sequence[int]) -> NDArray[np.uint64]:
        mixed = np.zeros(len(codes), np.uint64)
        for axis in axes:
            mixed += codes[:, axis].astype(np.uint64) * self._multipliers[axis]
        mixed ^= mixed >> np.uint64(31)
        mixed *= np.uint64(0x9E3779B97F4A7C15)
        result: NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(29))
        return result

    def complete(self, codes: Codes, rng: np.random.Generator) -> Codes:
        """Return members: open axes drawn, closed ones at -1, widths moved to where they may be.

        Args:
            codes: (n, axes); -1 for what is to be drawn.
            rng: source of randomness.
        """
        spec = self.space.spec
        codes = np.asfortranarray(codes)  # read and written axis by axis
        made = np.full(codes.shape, INACTIVE, np.int16, order="F")
        everywhere = np.ones(len(codes), bool)

        def fill(name: str, rows: Rows, low: Integers | None = None, high: Any = None) -> None:
            axis = self._columns.get(name)
            if axis is not None:
                made[rows, axis] = self._filled(axis, codes, rows, low, high, rng)

        fill("resolution", everywhere)
        fill("stages", everywhere)
        fill("stem", everywhere)
        stem = self._code(made, "stem")
        for number, (type_, entry) in enumerate(spec.stems.items()):
            for option, _ in entry.axes():
                fill(f"stem.{type_}.{option}", stem == number)
        count = np.asarray(spec.counts)[self._code(made, "stages")]
        stride, before = self._stem_sizes(made)
        for index, stage in enumerate(spec.stages):
            there, at = count > index, f"stage{index + 1}"
            enters = there & (before > 0)
            stride = np.where(enters, stride * 2, stride)
            low, high = self._allowed(index, stride, before)
            fill(f"{at}.width", there, low, high)
            width = np.asarray(stage.width)[self._code(made, f"{at}.width")]
            before = np.where(there, width, before)
            fill(f"{at}.downsample", enters)
            down = self._code(made, f"{at}.downsample")
            for number, (type_, options) in enumerate(spec.downsamples.items()):
                for option in options:
                    fill(f"{at}.downsample.{type_}.{option}", enters & (down == number))
            fill(f"{at}.block", there)
            kind = self._code(made, f"{at}.block")
            for number, type_ in enumerate(stage.blocks):
                for option in spec.blocks[type_]:
                    fill(f"{at}.{type_}.{option}", there & (kind == number))
            fill(f"{at}.depth", there)
            self._tail(made, fill, index, there, kind)
        fill("head", everywhere)
        head = self._code(made, "head")
        limits = self._used_stages(made)
        for number, (type_, options) in enumerate(spec.heads.items()):
            for option in options:
                name = f"head.{type_}.{option}"
                fill(name, head == number, *limits.get(name, ()))
        return made

    def _tail(self, made: Codes, fill: Any, index: int, there: Rows, kind: Integers) -> None:
        """Fill the axes of what is appended to a stage's blocks."""
        stage, at = self.space.spec.stages[index], f"stage{index + 1}"
        fill(f"{at}.tail", there)
        tail = self._code(made, f"{at}.tail")
        number = {type_: i for i, type_ in enumerate(stage.tails)}
        # A tail of the blocks' own type is no tail.
        same = np.array([number.get(type_, -2) for type_ in stage.blocks])[kind] == tail
        nothing = np.zeros(len(made), bool)
        if NONE in number:
            if f"{at}.tail" in self._columns:
                made[there & same, self._columns[f"{at}.tail"]] = number[NONE]
            nothing = tail == number[NONE]
        has = there & ~same & ~nothing
        fill(f"{at}.tail_depth", has)
        for type_, code in number.items():
            for option in self.space.spec.blocks.get(type_, ()):
                fill(f"{at}.tail.{type_}.{option}", has & (tail == code))

    def _stem_sizes(self, codes: Codes) -> tuple[Integers, Integers]:
        """Return strides and own widths of stems, 0 where they take the first stage's."""
        stride, width = np.zeros(len(codes), np.int64), np.zeros(len(codes), np.int64)
        stem = self._code(codes, "stem")
        for number, (type_, entry) in enumerate(self.space.spec.stems.items()):
            rows = stem == number
            stride[rows] = np.asarray(entry.stride)[self._code(codes[rows], f"stem.{type_}.stride")]
            if entry.width:
                own = self._code(codes[rows], f"stem.{type_}.width")
                width[rows] = np.asarray(entry.width)[own]
        return stride, width

    def _code(self, codes: Codes, name: str) -> Integers:
        """Return the codes of an axis (n,); of one with a single value, 0."""
        axis = self._columns.get(name)
        if axis is None:
            return np.zeros(len(codes), np.int64)
        return np.maximum(codes[:, axis], 0).astype(np.int64)

    def _allowed(self, index: int, stride: Integers, before: Integers) -> tuple[Integers, Integers]:
        """Return the first and the last code of the widths that a stage may have."""
        shape, values = self.space.spec.shape, np.asarray(self.space.spec.stages[index].width)
        low, high = np.full(len(stride), values[0], float), np.full(len(stride), values[-1], float)
        for limit, (least, most) in shape.width.items():
            rows = stride == limit
            low[rows], high[rows] = np.maximum(low[rows], least), np.minimum(high[rows], most)
        if shape.growth is not None:
            follows = before > 0
            low = np.where(follows, np.maximum(low, before * shape.growth[0]), low)
            high = np.where(follows, np.minimum(high, before * shape.growth[1]), high)
        return np.searchsorted(values, low), np.searchsorted(values, high, side="right") - 1

    def _used_stages(self, codes: Codes) -> dict[str, tuple[Integers, Integers]]:
        """Return the first and the last code (n,) of how many stages each head may use."""
        spec, found = self.space.spec, {}
        if spec.task == SEGMENTATION:
            count = np.asarray(spec.counts)[self._code(codes, "stages")]
            stride, own = self._stem_sizes(codes)
            first = np.where(own > 0, 2 * stride, stride)
            for type_, options in spec.heads.items():
                most = spec.most_used(type_, count, first)
                last = np.searchsorted(np.asarray(options["stages"]), most, side="right") - 1
                found[f"head.{type_}.stages"] = np.zeros_like(last), last
        return found

    def _ranges(self, codes: Codes) -> dict[int, tuple[Integers, Integers]]:
        """Return the least and the greatest code (n,) of each axis that others limit."""
        found = {}
        count = np.asarray(self.space.spec.counts)[self._code(codes, "stages")]
        stride, before = self._stem_sizes(codes)
        for index, stage in enumerate(self.space.spec.stages):
            name = f"stage{index + 1}.width"
            there = count > index
            stride = np.where(there & (before > 0), stride * 2, stride)
            if name in self._columns:
                found[self._columns[name]] = self._allowed(index, stride, before)
            before = np.where(there, np.asarray(stage.width)[self._code(codes, name)], before)
        for name, limits in self._used_stages(codes).items():
            if name in self._columns:
                found[self._columns[name]] = limits
        return found

    def _free(self, codes: Codes, ranges: Mapping[int, tuple[Integers, Integers]]) -> Rows:
        """Return which axes (n, axes) are active and can change."""
        free: Rows = codes >= 0
        for axis, (low, high) in ranges.items():
            free[:, axis] &= high > low
        return free

    def _filled(
        self,
        axis: int,
        codes: Codes,
        rows: Rows,
        low: Integers | None,
        high: Integers | None,
        rng: np.random.Generator,
    ) -> Integers:
        """Return codes of an axis for some rows: those given, within limits, or drawn."""
        code: Integers = codes[rows, axis].astype(np.int64)
        least = np.zeros(len(code), np.int64) if low is None else low[rows]
        most = np.full(len(code), self._lengths[axis] - 1) if high is None else high[rows]
        drawn = code < 0
        if drawn.any():
            a, b = least[drawn], most[drawn]
            size = self._sizes.get(axis)
            code[drawn] = rng.integers(a, b + 1) if size is None else size.draw(a, b, rng)
        return np.clip(code, least, most, out=code)

    def _step(
        self, axis: int, code: NDArray[Any], low: Integers, high: Integers, rng: Any
    ) -> Integers:
        """Return other codes of an axis, one step away."""
        size = self._sizes.get(axis)
        if size is not None:
            return size.step(code.astype(np.int64), low, high, rng)
        other: Integers = rng.integers(low, high)
        return other + (other >= code)


def _ratio(name: str, ratio: float) -> float:
    """Return the least factor between values of a size; a head's widths come in pairs."""
    if not name.endswith("width"):
        return 1.0
    return ratio**2 if name.startswith("head.") else ratio
