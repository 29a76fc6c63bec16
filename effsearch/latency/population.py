"""`PopulationPricer`: the latency of whole populations at once, from a space's encoded arrays.

A network's features are the sum of those of its stem, its stages' entries, blocks and tails, and
its head. Each of these parts depends on a few axes only, so it is priced once for every combination
that occurs, and a population is a handful of table look-ups.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from effsearch.latency.cost_model import Array, CostModel
from searchspace import SearchSpace
from searchspace import architecture as parts
from searchspace.schema import BLOCKS, CHANNELS_FIRST, CHANNELS_LAST, DOWNSAMPLINGS, HEADS, STEMS
from searchspace.space_file import NONE
from searchspace.units import Unit, block_unit

Codes = NDArray[np.int16]
Integers = NDArray[np.int64]


_LAYOUTS = (CHANNELS_FIRST, CHANNELS_LAST)
# Bits of the parts of a key: component with options, depth, layout, side, widths.
_TYPE, _DEPTH, _LAYOUT, _SIDE, _WIDTH = 14, 7, 1, 11, 13


@dataclass
class _Components:
    """Which component each row has, with its options: an index into `variants`."""

    index: Integers
    variants: list[tuple[str, dict[str, Any]]]

    def of(self, function: Callable[[str, dict[str, Any]], int]) -> Integers:
        """Return an integer property of each row's component."""
        used = np.unique(self.index)
        values = np.zeros(len(self.variants), np.int64)
        values[used] = [function(*self.variants[i]) for i in used]
        return np.asarray(values[self.index])


class PricedUnits(Protocol):
    """A device on which units of networks have features; `DeviceTable` is one."""

    @property
    def model(self) -> CostModel:
        """What prices features."""
        ...

    def unit_features(self, unit: Unit) -> tuple[Array, str]:
        """Return a unit's features (d,) and the kind of its price."""
        ...


class PopulationPricer:
    """Prices encoded architectures of one space on one device.

    Args:
        table: the device.
        space: the space that the codes are of.
    """

    def __init__(self, table: PricedUnits, space: SearchSpace) -> None:
        self.table, self.space = table, space
        self._columns = {name: i for i, name in enumerate(space.axes)}
        self._priced: dict[str, tuple[Integers, Array]] = {}

    def price(self, codes: Codes) -> tuple[Array, Array]:
        """Return latency means and standard deviations in ms.

        Args:
            codes: (n, axes), from `SearchSpace.encode`.

        Returns:
            Two arrays of shape (n,), equal to what `DeviceTable.predict` gives one by one.
        """
        return self.table.model.evaluate(self.features(codes))

    def features(self, codes: Codes) -> Array:
        """Return the networks' features (n, d)."""
        spec = self.space.spec
        count = self._values(codes, "stages", spec.counts)
        resolution = self._values(codes, "resolution", spec.resolution)
        stem = self._components(codes, "stem", "stem", {t: e.axes() for t, e in spec.stems.items()})
        own_width = stem.of(lambda _, options: options.get("width", 0))
        width = np.where(own_width > 0, own_width, self._widths(codes, 0))
        total = self._look_up(
            "stem",
            [(stem.index, _TYPE), (resolution, _SIDE), (width, _WIDTH)],
            lambda i, side, w: _stem(*stem.variants[i], side, w),
        )
        state = _State(
            layout=stem.of(lambda type_, _: _LAYOUTS.index(STEMS[type_].layout)),
            side=-(-resolution // stem.of(lambda _, options: options["stride"])),
            width=width,
        )
        for position in range(max(spec.counts)):
            rows = np.flatnonzero(count > position)
            if not len(rows):
                break
            entering = rows if position else rows[own_width[rows] > 0]
            if len(entering):
                self._enter(total, codes, state, entering, position)
            state.width[rows] = self._widths(codes[rows], position)
            self._add_blocks(total, codes, state, rows, position)
        heads = {t: o.items() for t, o in spec.heads.items()}
        head = self._components(codes, "head", "head", heads)
        total += self._look_up(
            "head",
            [(head.index, _TYPE), *state.key()],
            lambda i, *where: _head(*head.variants[i], *where),
        )
        return total

    def _enter(
        self, total: Array, codes: Codes, state: _State, rows: NDArray[np.intp], position: int
    ) -> None:
        """Add the downsampling of a stage."""
        axis = f"stage{position + 1}.downsample"
        options = {t: o.items() for t, o in self.space.spec.downsamples.items()}
        down = self._components(codes[rows], axis, axis, options)
        width = self._widths(codes[rows], position)
        total[rows] += self._look_up(
            "downsample",
            [(down.index, _TYPE), *state.key(rows), (width, _WIDTH)],
            lambda i, *where: _downsample(*down.variants[i], *where),
        )
        state.layout[rows] = down.of(lambda t, _: _LAYOUTS.index(DOWNSAMPLINGS[t].layout))
        state.side[rows] = -(-state.side[rows] // 2)

    def _add_blocks(
        self, total: Array, codes: Codes, state: _State, rows: NDArray[np.intp], position: int
    ) -> None:
        """Add a stage's blocks and what is appended to them."""
        at, stage = f"stage{position + 1}", self.space.spec.stages[position]
        options = {t: o.items() for t, o in self.space.spec.blocks.items()}
        names = [NONE, *options]

        def add(
            chosen: NDArray[np.intp], run: _Components, axis: str, depths: Sequence[int]
        ) -> None:
            depth = self._values(codes[chosen], axis, depths)
            total[chosen] += self._look_up(
                axis,
                [(run.index, _TYPE), (depth, _DEPTH), *state.key(chosen)],
                lambda i, *rest: _run(*run.variants[i], *rest),
            )
            state.layout[chosen] = run.of(lambda t, _: _LAYOUTS.index(BLOCKS[t].layout))

        allowed = {t: options[t] for t in stage.blocks}
        main = self._components(codes[rows], f"{at}.block", at, allowed)
        add(rows, main, f"{at}.depth", stage.depth)
        tails = {t: options.get(t, ()) for t in stage.tails}
        tail = self._components(codes[rows], f"{at}.tail", f"{at}.tail", tails)
        kind = tail.of(lambda type_, _: names.index(type_))
        # A tail of the blocks' own type is no tail.
        has = (kind != 0) & (kind != main.of(lambda type_, _: names.index(type_)))
        if has.any():
            tail.index = tail.index[has]
            add(rows[has], tail, f"{at}.tail_depth", stage.tail_depth)

    def _values(self, codes: Codes, axis: str, values: Sequence[int]) -> Integers:
        return np.asarray(np.asarray(values, np.int64)[self._column(codes, axis)])

    def _widths(self, codes: Codes, position: int) -> Integers:
        return self._values(
            codes, f"stage{position + 1}.width", self.space.spec.stages[position].width
        )

    def _column(self, codes: Codes, axis: str) -> NDArray[np.intp]:
        column = self._columns.get(axis)
        if column is None:
            return np.zeros(len(codes), np.intp)
        return codes[:, column].astype(np.intp)

    def _components(
        self,
        codes: Codes,
        axis: str,
        prefix: str,
        options: Mapping[str, Iterable[tuple[str, Sequence[Any]]]],
    ) -> _Components:
        """Return each row's component type together with all its options."""
        chosen = self._column(codes, axis)
        index = np.zeros(len(codes), np.int64)
        variants: list[tuple[str, dict[str, Any]]] = []
        for number, (type_, axes) in enumerate(options.items()):
            rows = np.flatnonzero(chosen == number)
            combined = np.zeros(len(rows), np.int64)
            settings: list[dict[str, Any]] = [{}]
            for option, values in axes:
                column = self._column(codes[rows], f"{prefix}.{type_}.{option}")
                combined = combined * len(values) + column
                settings = [{**setting, option: value} for setting in settings for value in values]
            index[rows] = combined + len(variants)
            variants += [(type_, setting) for setting in settings]
        return _Components(index, variants)

    def _look_up(
        self, name: str, key: Sequence[tuple[Integers, int]], units_of: Callable[..., list[Unit]]
    ) -> Array:
        """Return a part's features for every row; new combinations are computed and kept."""
        packed = np.zeros(len(key[0][0]), np.int64)
        for values, bits in key:
            packed = (packed << bits) | values
        known, features = self._priced.get(name, (np.empty(0, np.int64), None))
        position = np.minimum(np.searchsorted(known, packed), max(len(known) - 1, 0))
        missing = known[position] != packed if len(known) else np.ones(len(packed), bool)
        if missing.any() or features is None:
            fresh, first = np.unique(packed[missing], return_index=True)
            rows = np.flatnonzero(missing)[first]
            computed = [self._sum(units_of(*(int(v[row]) for v, _ in key))) for row in rows]
            order = np.argsort(np.concatenate([known, fresh]))
            stacked = np.array(computed).reshape(len(computed), -1)
            features = stacked if features is None else np.concatenate([features, stacked])
            known, features = np.concatenate([known, fresh])[order], features[order]
            self._priced[name] = (known, features)
            position = np.searchsorted(known, packed)
        return np.asarray(features[position])

    def _sum(self, units: list[Unit]) -> Array:
        return np.asarray(np.sum([self.table.unit_features(u)[0] for u in units], axis=0))


@dataclass
class _State:
    """Layout, side and width of each network's features so far."""

    layout: Integers
    side: Integers
    width: Integers

    def key(self, rows: Any = slice(None)) -> list[tuple[Integers, int]]:
        return [(self.layout[rows], _LAYOUT), (self.side[rows], _SIDE), (self.width[rows], _WIDTH)]


def _layout_change(wanted: str, layout: int, side: int, width: int) -> list[Unit]:
    if _LAYOUTS[layout] == wanted:
        return []
    return [Unit("layout", wanted, width, width, side)]


def _stem(type_: str, options: dict[str, Any], side: int, width: int) -> list[Unit]:
    rest = {k: v for k, v in options.items() if k not in ("width", "stride")}
    stem = parts.stem(type_, width=width, stride=options["stride"], **rest)
    return [Unit("stem", type_, 3, width, side, (("stride", stem.stride), *stem.options))]


def _downsample(
    type_: str, options: dict[str, Any], layout: int, side: int, in_width: int, width: int
) -> list[Unit]:
    down = parts.downsample(type_, **options)
    change = _layout_change(DOWNSAMPLINGS[type_].layout, layout, side, in_width)
    return [*change, Unit("downsample", type_, in_width, width, side, down.options)]


def _run(
    type_: str, options: dict[str, Any], depth: int, layout: int, side: int, width: int
) -> list[Unit]:
    block = parts.block(type_, depth, **options)
    change = _layout_change(BLOCKS[type_].layout, layout, side, width)
    return [*change, *(block_unit(block, width, side, index) for index in range(depth))]


def _head(type_: str, options: dict[str, Any], layout: int, side: int, width: int) -> list[Unit]:
    head = parts.head(type_, **options)
    change = _layout_change(HEADS[type_].layout, layout, side, width)
    return [*change, Unit("head", type_, width, 1000, side, head.options)]
