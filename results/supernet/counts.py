"""How much a supernet shares: its parameters against those of its networks.

python -m results.supernet.counts [SPACE...] prints the counts as JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from searchspace.architecture import Architecture
from searchspace.space import SearchSpace
from searchspace.supernet.slots import signature, slot_extents, slot_units, with_classes
from searchspace.units import ANY_SIZE, Unit, units


def parameter_count(architecture: Architecture, num_classes: int = 1000) -> int:
    """Return the parameters of a stand-alone network."""
    parts = units(architecture, num_classes)
    return sum(_parameters(replace(placed.unit, size=ANY_SIZE)) for placed in parts)


def _parameters(unit: Unit) -> int:
    return sum(math.prod(shape) for shape, _, own in signature(unit).values() if own)


def largest(space: SearchSpace, num_classes: int = 1000) -> Architecture:
    """Return the member with most parameters, by ascent along one axis at a time.

    Parameters of stages add up and grow with width and depth, so that the ascent from the
    largest values of all axes finds the maximum.
    """
    sizes = [len(values) for values in space.axes.values()]
    code = np.array([size - 1 for size in sizes], np.int16)
    best = -1
    while True:
        before = best
        for axis, size in enumerate(sizes):
            for value in range(size):
                trial = code.copy()
                trial[axis] = value
                count = parameter_count(space.decode(trial), num_classes)
                if count > best:
                    best, code = count, trial
        if best == before:
            return space.decode(code)


def summary(space: SearchSpace, num_classes: int = 1000, samples: int = 200) -> dict[str, Any]:
    """Return the counts of a supernet, part by part, and of its networks."""
    parts: dict[str, int] = {}
    members = {
        slot: [with_classes(unit, num_classes) for unit in found]
        for slot, found in slot_units(space).items()
    }
    for slot, tensors in slot_extents(members).items():
        place, type_, *rest = slot.split(".")
        label = f"{place} {type_} {rest[0]}" if type_ == "downsample" else f"{place} {type_}"
        values = sum(math.prod(extent.shape) for extent, _, own in tensors.values() if own)
        parts[label] = parts.get(label, 0) + values
    top = parameter_count(largest(space, num_classes), num_classes)
    rng = np.random.default_rng(0)
    drawn = [parameter_count(space.sample(rng), num_classes) for _ in range(samples)]
    total = sum(parts.values())
    return {
        "space": space.name,
        "num_classes": num_classes,
        "supernet": total,
        "largest_network": top,
        "ratio": round(total / top, 3),
        "median_of_random_networks": int(np.median(drawn)),
        "members": space.size(),
        "parts": parts,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the counts of the named spaces."""
    parser = argparse.ArgumentParser(prog="python -m results.supernet.counts")
    parser.add_argument("spaces", nargs="*", metavar="SPACE", default=["supernet"])
    options = parser.parse_args(arguments)
    print(json.dumps([summary(SearchSpace.load(name)) for name in options.spaces], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
