"""`Choice`, `Table`: from codes of networks to numbers of what they have at a place."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from searchspace.resolution import Size, height_width, reduced
from searchspace.schema import CHANNELS_FIRST, CHANNELS_LAST
from searchspace.space_file import NONE, SpaceFile
from searchspace.units import Unit

Codes = NDArray[np.int16]
Integers = NDArray[np.int64]
Part = tuple[Unit, ...]
Variant = tuple[str, dict[str, Any]]

LAYOUTS = (CHANNELS_FIRST, CHANNELS_LAST)
_NO_KEY = np.iinfo(np.int64).max
_DENSE = 1 << 22  # tables of more entries than this are sorted lists


class Choice:
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
            found = [0 if t == NONE else LAYOUTS.index(specs[t].layout) for t, _ in self.variants]
            self._properties["layouts"] = np.array(found, np.int64)
        return self._properties["layouts"]

    def kinds(self, types: Iterable[str]) -> Integers:
        """Return the number of each variant's type, 0 for none."""
        if "kinds" not in self._properties:
            numbers = {type_: i for i, type_ in enumerate((NONE, *types))}
            self._properties["kinds"] = np.array([numbers[t] for t, _ in self.variants], np.int64)
        return self._properties["kinds"]


class MapSizes:
    """Heights and widths of the feature maps that a space's networks have, each with a number.

    Attributes:
        sizes: height and width by number.
        entered: the number of the first map, by the resolution's code and the stem's stride.
        halved: the number of the map of half the size, by number.
    """

    def __init__(self, space: SpaceFile) -> None:
        strides = {stride for stem in space.stems.values() for stride in stem.stride}
        images = [height_width(resolution) for resolution in space.resolution]
        first = [(i, s, reduced(size, s)) for i, size in enumerate(images) for s in strides]
        numbers: dict[Size, int] = {}
        for *_, size in first:
            while size not in numbers:
                numbers[size] = len(numbers)
                size = reduced(size, 2)
        self.sizes = tuple(numbers)
        self.halved = np.array([numbers[reduced(size, 2)] for size in numbers], np.int64)
        self.entered = np.zeros((len(images), max(strides) + 1), np.int64)
        for image, stride, size in first:
            self.entered[image, stride] = numbers[size]


class Table:
    """Numbers by keys of a few integers: a dense array where that is small, else a sorted list."""

    def __init__(self) -> None:
        self._sizes: tuple[int, ...] = ()
        self._dense: Integers | None = None
        self._keys = np.array([_NO_KEY])
        self._found = np.zeros(1, np.int64)

    def __call__(
        self, key: Sequence[Integers], make: Callable[..., Part], number: Callable[[Part], int]
    ) -> Integers:
        """Return the numbers of keys; `make` and `number` give those of new ones."""
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
