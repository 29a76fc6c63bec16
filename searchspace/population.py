"""`PopulationParts`, `PopulationTotals`: whole populations as sums over a few parts, from codes.

A network's latency features, parameters and the like are sums over its units. Each unit depends on
a few axes only, so it is looked up by those codes; a population is then a sparse matrix (networks
by parts), and any totals are its product with what each part adds. What is no sum but the most that
any unit needs, such as memory, is found from the same matrix (`PopulationPeaks`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from searchspace import architecture as components
from searchspace.lookup import LAYOUTS, Choice, Codes, Integers, MapSizes, Part, Table, Variant
from searchspace.resolution import Size, height_width
from searchspace.schema import BLOCKS, DOWNSAMPLINGS, HEADS, SEGMENTATION, STEMS
from searchspace.space import SearchSpace
from searchspace.space_file import NONE
from searchspace.units import Unit, block_unit, lateral_unit, segmentation_head_unit

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Array = NDArray[np.float64]


class PopulationParts:
    """Parts of encoded networks of one space; each distinct one has a number.

    Attributes:
        space: the space that the codes are of.
        parts: units of each part; part 0 has none.
    """

    def __init__(self, space: SearchSpace) -> None:
        self.space = space
        self.parts: list[Part] = [()]
        self._maps = MapSizes(space.spec)
        self._numbers: dict[Part, int] = {(): 0}
        self._tables: dict[str, Table] = {}
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
        # Of segmentation heads, what their laterals depend on, each pair once.
        laterals = [(t, int(o.get("width", 0))) for t, o in self._head.variants]
        self._laterals = list(dict.fromkeys(laterals))
        self._lateral_of = np.array([self._laterals.index(pair) for pair in laterals], np.int64)

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
        image = self._values(codes, "resolution", range(len(spec.resolution)))
        stem = self._stem.index(codes)
        own = self._stem.property(_own_width)[stem]
        size = self._maps.entered[image, self._stem.property(_stride)[stem]]
        width = np.where(own > 0, own, self._width(codes, 0))
        layout = self._stem.layouts(STEMS)[stem]
        columns.append((self._look_up("stem", (stem, image, width), self._stem_part), once))
        maps = []
        for position in range(max(spec.counts)):
            at = f"stage{position + 1}"
            there = stages > position
            enters = there if position else there & (own > 0)
            down = self._downs[position].index(codes)
            wanted = self._downs[position].layouts(DOWNSAMPLINGS)[down]
            before, width = width, np.where(there, self._width(codes, position), width)
            part = self._look_up(
                f"{at}.downsample",
                (down, layout, size, before, width),
                lambda i, *rest, k=position: self._down_part(self._downs[k].variants[i], *rest),
                enters,
            )
            columns.append((part, enters))
            layout = np.where(enters, wanted, layout)
            size = np.where(enters, self._maps.halved[size], size)
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
                    into = (wanted, size, width)
                    columns.append(
                        (self._look_up("layout", into, self._change_part, change), change)
                    )
                layout = np.where(rows, wanted, layout)
                depth = self._values(codes, axis, values)
                lengths = choice.property(_pattern_length)[index]
                for repeat in range(int(lengths[rows].max(initial=1))):
                    some = rows & (lengths > repeat)
                    part = self._look_up(
                        f"{axis}.{repeat}",
                        (index, size, width),
                        lambda i, *rest, c=choice, r=repeat: self._block_part(
                            c.variants[i], r, *rest
                        ),
                        some,
                    )
                    often = np.maximum(depth - repeat + lengths - 1, 0) // lengths
                    columns.append((part, np.where(some, often, 0)))
            maps.append((layout, size, width))
        head = self._head.index(codes)
        if spec.task == SEGMENTATION:
            first = self._stem.property(_stride)[stem] * np.where(own > 0, 2, 1)
            columns += self._segmentation_head(head, stages, first, maps)
        else:
            key = (head, layout, size, width)
            columns.append((self._look_up("head", key, self._head_part), once))
        return _matrix(columns, len(self.parts))

    def _segmentation_head(
        self,
        head: Integers,
        count: Integers,
        first: Integers,
        maps: Sequence[tuple[Integers, Integers, Integers]],
    ) -> list[tuple[Integers, NDArray[Any]]]:
        """Return the parts of heads and their laterals, and how often.

        Args:
            head: variants (n,).
            count: of stages (n,).
            first: strides of the first stages' maps (n,).
            maps: layout, size and width (n,) each, of each stage's map.
        """
        columns: list[tuple[Integers, NDArray[Any]]] = []
        begins = count - self._head.property(_used)[head]
        stride = self._head.property(_stride)[head]
        size, factor = np.zeros_like(head), np.ones_like(head)
        for position, (layout, at, width) in enumerate(maps):
            used = (position >= begins) & (position < count)
            enlarged = np.maximum((first << position) // stride, 1)
            key = (self._lateral_of[head], layout, at, width, enlarged)
            part = self._look_up("lateral", key, self._lateral_part, used)
            columns.append((part, used))
            size = np.where(position == begins, at, size)
            factor = np.where(position == begins, enlarged, factor)
        part = self._look_up("head", (head, size, factor), self._segmentation_head_part)
        return [*columns, (part, np.ones_like(head))]

    def _stem_part(self, index: int, image: int, width: int) -> Part:
        type_, options = self._stem.variants[index]
        rest = {k: v for k, v in options.items() if k not in ("width", "stride")}
        stem = components.stem(type_, width=width, stride=options["stride"], **rest)
        settings = (("stride", stem.stride), *stem.options)
        size = height_width(self.space.spec.resolution[image])
        return (Unit("stem", type_, 3, width, size, settings),)

    def _change_part(self, wanted: int, number: int, width: int) -> Part:
        return (Unit("layout", LAYOUTS[wanted], width, width, self._maps.sizes[number]),)

    def _down_part(
        self, variant: Variant, layout: int, number: int, in_width: int, width: int
    ) -> Part:
        type_, size = variant[0], self._maps.sizes[number]
        change = _change(DOWNSAMPLINGS[type_].layout, layout, size, in_width)
        options = _completed(components.downsample, variant).options
        return (*change, Unit("downsample", type_, in_width, width, size, options))

    def _block_part(self, variant: Variant, repeat: int, number: int, width: int) -> Part:
        block = _completed(components.block, variant)
        return (block_unit(block, width, self._maps.sizes[number], repeat),)

    def _head_part(self, index: int, layout: int, number: int, width: int) -> Part:
        variant, size = self._head.variants[index], self._maps.sizes[number]
        type_, head = variant[0], _completed(components.head, variant)
        change = _change(HEADS[type_].layout, layout, size, width)
        return (*change, Unit("head", type_, width, 1000, size, head.options))

    def _lateral_part(
        self, index: int, layout: int, number: int, in_width: int, factor: int
    ) -> Part:
        (type_, width), size = self._laterals[index], self._maps.sizes[number]
        change = _change(HEADS[type_].layout, layout, size, in_width)
        return (*change, lateral_unit(type_, in_width, width, size, factor))

    def _segmentation_head_part(self, index: int, number: int, factor: int) -> Part:
        head, size = (
            _completed(components.head, self._head.variants[index]),
            self._maps.sizes[number],
        )
        return (segmentation_head_unit(head, (size[0] * factor, size[1] * factor)),)

    def _choice(
        self, axis: str, prefix: str, options: Mapping[str, Iterable[tuple[str, Sequence[Any]]]]
    ) -> Choice:
        listed = {t: [(f"{prefix}.{t}.{o}", o, v) for o, v in axes] for t, axes in options.items()}
        return Choice(self._columns, axis, listed)

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
            self._tables[name] = Table()
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


class _PartRows:
    """What parts of a space are worth: their units' rows, put together; found when needed.

    Args:
        parts: of the space.
        units_rows: what units are worth, (n, d).
    """

    together: np.ufunc

    def __init__(
        self, parts: PopulationParts, units_rows: Callable[[Sequence[Unit]], Array]
    ) -> None:
        self.parts = parts
        self._units_rows = units_rows
        self._rows = np.zeros((0, 0))
        self._known = np.zeros(0, bool)

    def _rows_of(self, counts: csr_array) -> Array:
        """Return the rows of all parts; those that no network has may be missing."""
        needed = counts.shape[1]
        wanted = np.zeros(needed, bool)
        wanted[counts.indices] = True
        wanted[: len(self._known)] &= ~self._known[:needed]
        wanted[0] = False  # the part of no units
        fresh = np.flatnonzero(wanted)
        if len(fresh):
            self._learn(fresh, needed)
        return self._rows[:needed]

    def _learn(self, fresh: Integers, needed: int) -> None:
        """Find what parts are worth."""
        lists = [self.parts.parts[number] for number in fresh.tolist()]
        units = list(dict.fromkeys(unit for part in lists for unit in part))
        place = {unit: row for row, unit in enumerate(units)}
        rows = self._units_rows(units)
        if needed > len(self._known):
            room = 2 * needed
            grown = np.zeros((room, rows.shape[1]))
            grown[: len(self._known)] = self._rows.reshape(-1, rows.shape[1])
            self._known = np.append(self._known, np.zeros(room - len(self._known), bool))
            self._rows = grown
        owners = np.repeat(fresh, [len(part) for part in lists])
        places = np.array([place[unit] for part in lists for unit in part], np.int64)
        self.together.at(self._rows, owners, rows[places])
        self._known[fresh] = True


class PopulationTotals(_PartRows):
    """Totals of populations: sums over units of what each adds."""

    together = np.add

    def __call__(self, counts: csr_array) -> Array:
        """Return the totals (n, d) of networks, from how often they have each part."""
        return np.asarray(counts @ self._rows_of(counts))


class PopulationPeaks(_PartRows):
    """Peaks of populations: the most over units of what each needs, which is 0 or more."""

    together = np.maximum

    def __call__(self, counts: csr_array) -> Array:
        """Return the peaks (n, d) of networks, from how often they have each part."""
        needs = self._rows_of(counts)[counts.indices]
        needs[counts.data == 0] = 0
        found: Array = np.maximum.reduceat(needs, counts.indptr[:-1])
        return found


def _matrix(columns: Sequence[tuple[Integers, Any]], parts: int) -> csr_array:
    from scipy.sparse import csr_array  # a tenth of a second

    indices = np.stack([part for part, _ in columns], axis=1)
    counts = np.stack([np.asarray(often, np.float64) for _, often in columns], axis=1)
    n, each = indices.shape
    pointers = np.arange(0, n * each + 1, each)
    matrix = csr_array((counts.ravel(), indices.ravel(), pointers), shape=(n, parts))
    return matrix


def _own_width(stem: Variant) -> int:
    return int(stem[1].get("width", 0))


def _stride(variant: Variant) -> int:
    return int(variant[1]["stride"])


def _used(head: Variant) -> int:
    return int(head[1]["stages"])


def _pattern_length(block: Variant) -> int:
    """Return after how many blocks of a run its units repeat; see `units.block_unit`."""
    type_, options = block
    patterns = () if type_ == NONE else BLOCKS[type_].patterns
    return math.lcm(*(len(options[name]) for name in patterns if isinstance(options[name], tuple)))


def _change(wanted: str, layout: int, size: Size, width: int) -> Part:
    if LAYOUTS[layout] == wanted:
        return ()
    return (Unit("layout", wanted, width, width, size),)


_COMPLETED: dict[int, tuple[Variant, Any]] = {}


def _completed(make: Callable[..., Any], variant: Variant) -> Any:
    """Return a variant's component, checked once."""
    known = _COMPLETED.get(id(variant))
    if known is None or known[0] is not variant:
        known = _COMPLETED[id(variant)] = variant, make(variant[0], **variant[1])
    return known[1]
