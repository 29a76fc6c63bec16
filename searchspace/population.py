"""`PopulationParts`, `PopulationTotals`: whole populations as sums over a few parts, from codes.

A network's latency features, parameters and the like are sums over its units. Each unit depends on
a few axes only, so it is looked up by those codes; a population is then a sparse matrix (networks
by parts), and any totals are its product with what each part adds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from searchspace import architecture as components
from searchspace.schema import BLOCKS, CHANNELS_FIRST, CHANNELS_LAST, DOWNSAMPLINGS, HEADS, STEMS
from searchspace.space import SearchSpace
from searchspace.space_file import NONE
from searchspace.units import Unit, block_unit

Codes = NDArray[np.int16]
Integers = NDArray[np.int64]
Array = NDArray[np.float64]
Part = tuple[Unit, ...]
Variant = tuple[str, dict[str, Any]]

_LAYOUTS = (CHANNELS_FIRST, CHANNELS_LAST)
_NO_KEY = np.iinfo(np.int64).max
_DENSE = 1 << 22  # look-up tables of more entries than this are sorted lists


class PopulationParts:
    """Parts of encoded networks of one space; each distinct one has a number.

    Attributes:
        space: the space that the codes are of.
        parts: units of each part; part 0 has none.
        resolutions: input side by code.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.parts: list[Part] = [()]
        self.resolutions = np.asarray(space.spec.resolution, np.int64)
        self._numbers: dict[Part, int] = {(): 0}
        self._tables: dict[str, _Table] = {}
        self._columns = {name: i for i, name in enumerate(space.axes)}

        spec = space.spec
        options = {t: tuple(o.items()) for t, o in spec.blocks.items()}
        self._stem = self._choice("stem", "stem", {t: e.axes() for t, e in spec.stems.items()})
        downs = {t: tuple(o.items()) for t, o in spec.downsamples.items()}
        self._downs, self._runs, self._tails = [], [], []
        for index, stage in enumerate(spec.stages):
            at = f"stage{index + 1}"
            self._downs.append(self._choice(f"{at}.downsample", f"{at}.downsample", downs))
            mains = {t: options[t] for t in stage.blocks}
            self._runs.append(self._choice(f"{at}.block", at, mains))
            tails = {t: options.get(t, ()) for t in stage.tails}
            self._tails.append(self._choice(f"{at}.tail", f"{at}.tail", tails))
        heads = {t: tuple(o.items()) for t, o in spec.heads.items()}
        self._head = self._choice("head", "head", heads)

    def __call__(self, codes: Codes) -> csr_array:
        """Return how often each network has each part, (n, len(parts)).

        Args:
            codes: (n, axes), from `SearchSpace.encode`.
        """
        spec = self.space.spec
        n = len(codes)
        columns: list[tuple[Integers, NDArray[Any]]] = []  # parts and how often
        once = np.ones(n, np.int64)
        stages = self._values(codes, "stages", spec.counts)
        resolution = self._values(codes, "resolution", spec.resolution)
        stem = self._stem.index(codes)
        own = self._stem.property(_own_width)[stem]
        side = -(-resolution // self._stem.property(_stride)[stem])
        width = np.where(own > 0, own, self._width(codes, 0))
        layout = self._stem.layouts(STEMS)[stem]
        columns.append((self._look_up("stem", (stem, resolution, width), self._stem_part), once))
        for position in range(max(spec.counts)):
            at = f"stage{position + 1}"
            there = stages > position
            enters = there if position else there & (own > 0)
            down = self._downs[position].index(codes)
            wanted = self._downs[position].layouts(DOWNSAMPLINGS)[down]
            before, width = width, np.where(there, self._width(codes, position), width)
            part = self._look_up(
                f"{at}.downsample",
                (down, layout, side, before, width),
                lambda i, *rest, k=position: _down_part(self._downs[k].variants[i], *rest),
                enters,
            )
            columns.append((part, enters))
            layout = np.where(enters, wanted, layout)
            side = np.where(enters, -(-side // 2), side)
            kinds = self._runs[position].kinds(spec.blocks)
            main = self._runs[position].index(codes)
            runs = [(self._runs[position], main, f"{at}.depth", spec.stages[position].depth, there)]
            tail = self._tails[position].index(codes)
            kind = self._tails[position].kinds(spec.blocks)[tail]
            # A tail of the blocks' own type is no tail.
            has = there & (kind != 0) & (kind != kinds[main])
            depths = spec.stages[position].tail_depth
            runs.append((self._tails[position], tail, f"{at}.tail_depth", depths, has))
            for choice, index, axis, values, rows in runs:
                wanted = choice.layouts(BLOCKS)[index]
                change = rows & (wanted != layout)
                if change.any():
                    into = (wanted, side, width)
                    columns.append((self._look_up("layout", into, _change_part, change), change))
                layout = np.where(rows, wanted, layout)
                depth = self._values(codes, axis, values)
                lengths = choice.property(_pattern_length)[index]
                for repeat in range(int(lengths[rows].max(initial=1))):
                    some = rows & (lengths > repeat)
                    part = self._look_up(
                        f"{axis}.{repeat}",
                        (index, side, width),
                        lambda i, *rest, c=choice, r=repeat: _block_part(c.variants[i], r, *rest),
                        some,
                    )
                    often = np.maximum(depth - repeat + lengths - 1, 0) // lengths
                    columns.append((part, np.where(some, often, 0)))
        head = self._head.index(codes)
        key = (head, layout, side, width)
        columns.append((self._look_up("head", key, self._head_part), once))
        return _matrix(columns, len(self.parts))

    def _stem_part(self, index: int, side: int, width: int) -> Part:
        type_, options = self._stem.variants[index]
        rest = {k: v for k, v in options.items() if k not in ("width", "stride")}
        stem = components.stem(type_, width=width, stride=options["stride"], **rest)
        settings = (("stride", stem.stride), *stem.options)
        return (Unit("stem", type_, 3, width, side, settings),)

    def _head_part(self, index: int, layout: int, side: int, width: int) -> Part:
        variant = self._head.variants[index]
        type_, head = variant[0], _completed(components.head, variant)
        change = _change(HEADS[type_].layout, layout, side, width)
        return (*change, Unit("head", type_, width, 1000, side, head.options))

    def _choice(
        self, axis: str, prefix: str, options: Mapping[str, Iterable[tuple[str, Sequence[Any]]]]
    ) -> _Choice:
        listed = {t: [(f"{prefix}.{t}.{o}", o, v) for o, v in axes] for t, axes in options.items()}
        return _Choice(self._columns, axis, listed)

    def _values(self, codes: Codes, axis: str, values: Sequence[int]) -> Integers:
        column = self._columns.get(axis)
        if column is None:
            return np.full(len(codes), values[0], np.int64)
        # An axis that is inactive gives its last value, which nothing reads.
        found: Integers = np.asarray(values, np.int64)[codes[:, column]]
        return found

    def _width(self, codes: Codes, position: int) -> Integers:
        widths = self.space.spec.stages[position].width
        return self._values(codes, f"stage{position + 1}.width", widths)

    def _look_up(
        self,
        name: str,
        key: Sequence[Integers],
        make: Callable[..., Part],
        rows: NDArray[np.bool_] | None = None,
    ) -> Integers:
        """Return the part of each row by what it depends on; 0 where `rows` is false."""
        if name not in self._tables:
            self._tables[name] = _Table()
        table = self._tables[name]
        if rows is None:
            return table(key, make, self._number)
        found = np.zeros(len(rows), np.int64)
        chosen = np.flatnonzero(rows)
        if len(chosen):
            found[chosen] = table([k[chosen] for k in key], make, self._number)
        return found

    def _number(self, part: Part) -> int:
        number = self._numbers.get(part)
        if number is None:
            number = self._numbers[part] = len(self.parts)
            self.parts.append(part)
        return number


class PopulationTotals:
    """Totals of populations: sums over units of what each adds.

    Args:
        parts: of the space.
        vectors_of_units: what units add, each (d,).
    """

    def __init__(
        self, parts: PopulationParts, vectors_of_units: Callable[[Sequence[Unit]], Sequence[Array]]
    ) -> None:
        self.parts = parts
        self._vectors_of_units = vectors_of_units
        self._vectors: Array | None = None

    def __call__(self, counts: csr_array) -> Array:
        """Return the totals (n, d) of networks, from how often they have each part."""
        known = 0 if self._vectors is None else len(self._vectors)
        needed = counts.shape[1]
        if self._vectors is None or needed > known:
            fresh = self.parts.parts[max(known, 1) : needed]
            units = list(dict.fromkeys(unit for part in fresh for unit in part))
            vector = dict(zip(units, self._vectors_of_units(units), strict=True))
            rows = np.array([np.sum([vector[u] for u in part], axis=0) for part in fresh])
            nothing = np.zeros((1, rows.shape[1]))
            before = nothing if self._vectors is None else self._vectors
            self._vectors = np.concatenate([before, rows])
        return np.asarray(counts @ self._vectors[:needed])


class _Choice:
    """Which component networks have at a place, with all its options, as one number."""

    def __init__(
        self,
        columns: Mapping[str, int],
        axis: str,
        options: Mapping[str, Sequence[tuple[str, str, Sequence[Any]]]],
    ) -> None:
        self.variants: list[Variant] = []
        self._column = columns.get(axis)
        self._offsets: list[int] = []
        self._steps: list[tuple[int, int]] = []  # column, step of the number by its code
        self._properties: dict[object, Integers] = {}
        for type_, axes in options.items():
            self._offsets.append(len(self.variants))
            settings: list[dict[str, Any]] = [{}]
            step = math.prod(len(values) for _, _, values in axes)
            for name, option, values in axes:
                step //= len(values)
                if name in columns:
                    self._steps.append((columns[name], step))
                settings = [{**setting, option: value} for setting in settings for value in values]
            self.variants += [(type_, setting) for setting in settings]

    def index(self, codes: Codes) -> Integers:
        """Return each row's variant; that of an inactive place is any."""
        offsets = np.asarray(self._offsets, np.int64)
        index = offsets[0 if self._column is None else codes[:, self._column]]
        index = np.array(np.broadcast_to(index, len(codes)))
        for column, step in self._steps:  # options of other types are inactive, -1
            index += np.maximum(codes[:, column], 0).astype(np.int64) * step
        return index

    def property(self, of: Callable[[Variant], int]) -> Integers:
        """Return an integer of each variant."""
        if of not in self._properties:
            self._properties[of] = np.array([of(variant) for variant in self.variants], np.int64)
        return self._properties[of]

    def layouts(self, specs: Mapping[str, Any]) -> Integers:
        """Return the number of each variant's memory layout."""
        if "layouts" not in self._properties:
            found = [0 if t == NONE else _LAYOUTS.index(specs[t].layout) for t, _ in self.variants]
            self._properties["layouts"] = np.array(found, np.int64)
        return self._properties["layouts"]

    def kinds(self, types: Iterable[str]) -> Integers:
        """Return the number of each variant's type, 0 for none."""
        if "kinds" not in self._properties:
            numbers = {type_: i for i, type_ in enumerate((NONE, *types))}
            self._properties["kinds"] = np.array([numbers[t] for t, _ in self.variants], np.int64)
        return self._properties["kinds"]


class _Table:
    """Numbers by keys of a few integers: a dense array where that is small, else a sorted list."""

    def __init__(self) -> None:
        self._sizes: tuple[int, ...] = ()
        self._dense: Integers | None = None
        self._keys = np.array([_NO_KEY])
        self._found = np.zeros(1, np.int64)

    def __call__(
        self, key: Sequence[Integers], make: Callable[..., Part], number: Callable[[Part], int]
    ) -> Integers:
        highest = [int(k.max()) + 1 for k in key]
        sizes = self._sizes or (0,) * len(key)
        if any(high > size for high, size in zip(highest, sizes, strict=True)):
            self._resize([max(pair) for pair in zip(highest, sizes, strict=True)])
        packed = key[0]
        for values, size in zip(key[1:], self._sizes[1:], strict=True):
            packed = packed * size + values
        if self._dense is not None:
            found = self._dense[packed]
            missing = np.flatnonzero(found < 0)
        else:
            position = np.minimum(np.searchsorted(self._keys, packed), len(self._keys) - 1)
            missing = np.flatnonzero(self._keys[position] != packed)
            found = self._found[position]
        if len(missing):
            fresh, first, inverse = np.unique(
                packed[missing], return_index=True, return_inverse=True
            )
            rows = missing[first]
            made = [number(make(*(int(k[row]) for k in key))) for row in rows]
            numbers = np.array(made, np.int64)
            if self._dense is not None:
                self._dense[fresh] = numbers
            else:
                keys = np.concatenate([self._keys, fresh])
                order = np.argsort(keys)
                self._keys, self._found = keys[order], np.append(self._found, numbers)[order]
            found[missing] = numbers[inverse]
        return found

    def _resize(self, sizes: Sequence[int]) -> None:
        """Make room for higher keys."""
        if self._dense is None:
            old, found = self._keys[:-1], self._found[:-1]
        else:
            old = np.flatnonzero(self._dense >= 0)
            found = self._dense[old]
        keys = old
        if len(old):
            keys = np.ravel_multi_index(np.unravel_index(old, self._sizes), tuple(sizes))
        self._sizes = tuple(sizes)
        self._dense = None
        if math.prod(sizes) <= _DENSE:
            self._dense = np.full(math.prod(sizes), -1, np.int64)
            self._dense[keys] = found
        else:
            order = np.argsort(keys)
            self._keys = np.append(keys[order], _NO_KEY)
            self._found = np.append(found[order], 0)


def _matrix(columns: Sequence[tuple[Integers, Any]], parts: int) -> csr_array:
    indices = np.stack([part for part, _ in columns], axis=1)
    counts = np.stack([np.asarray(often, np.float64) for _, often in columns], axis=1)
    n, each = indices.shape
    pointers = np.arange(0, n * each + 1, each)
    matrix = csr_array((counts.ravel(), indices.ravel(), pointers), shape=(n, parts))
    return matrix


def _own_width(stem: Variant) -> int:
    return int(stem[1].get("width", 0))


def _stride(stem: Variant) -> int:
    return int(stem[1]["stride"])


def _pattern_length(block: Variant) -> int:
    """Return after how many blocks of a run its units repeat; see `units.block_unit`."""
    type_, options = block
    patterns = () if type_ == NONE else BLOCKS[type_].patterns
    return math.lcm(*(len(options[name]) for name in patterns if isinstance(options[name], tuple)))


def _change(wanted: str, layout: int, side: int, width: int) -> Part:
    if _LAYOUTS[layout] == wanted:
        return ()
    return (Unit("layout", wanted, width, width, side),)


def _change_part(wanted: int, side: int, width: int) -> Part:
    return (Unit("layout", _LAYOUTS[wanted], width, width, side),)


def _down_part(variant: Variant, layout: int, side: int, in_width: int, width: int) -> Part:
    type_, _ = variant
    change = _change(DOWNSAMPLINGS[type_].layout, layout, side, in_width)
    options = _completed(components.downsample, variant).options
    return (*change, Unit("downsample", type_, in_width, width, side, options))


def _block_part(variant: Variant, repeat: int, side: int, width: int) -> Part:
    return (block_unit(_completed(components.block, variant), width, side, repeat),)


_COMPLETED: dict[int, tuple[Variant, Any]] = {}


def _completed(make: Callable[..., Any], variant: Variant) -> Any:
    """Return a variant's component, checked once."""
    known = _COMPLETED.get(id(variant))
    if known is None or known[0] is not variant:
        known = _COMPLETED[id(variant)] = variant, make(variant[0], **variant[1])
    return known[1]
