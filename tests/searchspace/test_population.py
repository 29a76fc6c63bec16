"""Totals of populations against sums over units, one network at a time."""

import numpy as np
import pytest

from searchspace import SearchSpace
from searchspace.operators import operators, peak_bytes, unit_operators
from searchspace.population import PopulationParts, PopulationPeaks, PopulationTotals
from searchspace.space import space_names
from searchspace.templates import unit_peak_bytes, unit_weight_bytes
from searchspace.units import units


def counts(asked):
    found = []
    for unit in asked:
        parts = unit_operators(unit, "train")
        bytes_ = sum(o.weight_bytes for o in unit_operators(unit, "deploy"))
        found.append([sum(o.params for o in parts), sum(o.macs for o in parts), bytes_])
    return np.array(found, float)


@pytest.mark.parametrize("name", space_names())
def test_counts_equal_those_one_by_one(name):
    space, rng = SearchSpace.load(name), np.random.default_rng(3)
    networks = [space.sample(rng) for _ in range(25)]
    parts = PopulationParts(space)
    found = PopulationTotals(parts, counts)(parts(space.encode(networks)))
    for network, (params, macs, bytes_) in zip(networks, found, strict=True):
        train, deploy = operators(network, "train"), operators(network, "deploy")
        assert params == sum(o.params for o in train)
        assert macs == sum(o.macs for o in train)
        assert bytes_ == sum(o.weight_bytes for o in deploy)


# Maps that are kept for a head outlive units.
@pytest.mark.parametrize("name", sorted(set(space_names()) - {"segmentation"}))
def test_memory_and_size_equal_those_one_by_one(name):
    space, rng = SearchSpace.load(name), np.random.default_rng(5)
    networks = [space.sample(rng) for _ in range(60)]
    parts = PopulationParts(space)
    peaks, sizes = (
        PopulationPeaks(parts, unit_peak_bytes),
        PopulationTotals(parts, unit_weight_bytes),
    )
    for rows in (slice(0, 7), slice(0, 60)):
        counts = parts(space.encode(networks[rows]))
        for network, peak, size in zip(networks[rows], peaks(counts), sizes(counts), strict=True):
            deployed = operators(network, "deploy")
            assert peak == peak_bytes(deployed)
            assert size == sum(o.weight_bytes for o in deployed)


@pytest.mark.parametrize("name", space_names())
def test_parts_are_the_units_in_any_order_of_batches(name):
    """What was looked up before does not matter, nor how many rows are looked up at once."""
    space, rng = SearchSpace.load(name), np.random.default_rng(4)
    networks = [space.sample(rng) for _ in range(40)]
    codes = space.encode(networks)
    parts = PopulationParts(space)
    for rows in (slice(0, 1), slice(30, 40), slice(0, 40)):
        found = parts(codes[rows])
        for row, network in enumerate(networks[rows]):
            have = {}
            begin, end = found.indptr[row : row + 2]
            for number, often in zip(found.indices[begin:end], found.data[begin:end], strict=True):
                for unit in parts.parts[number]:
                    have[unit] = have.get(unit, 0) + often
            wanted = {}
            for placed in units(network):
                wanted[placed.unit] = wanted.get(placed.unit, 0) + 1
            assert {u: c for u, c in have.items() if c} == wanted


def test_large_keys_are_sorted_lists(monkeypatch):
    monkeypatch.setattr("searchspace.lookup._DENSE", 100)
    test_counts_equal_those_one_by_one("small")
    test_parts_are_the_units_in_any_order_of_batches("small")
