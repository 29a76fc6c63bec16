"""Doubles for a latency table and a score source: cheap, and in conflict with each other."""

from __future__ import annotations

import math

import numpy as np
import pytest

from effsearch.accuracy.score import Score
from effsearch.latency.table import DeviceTable
from effsearch.search.evaluation import Evaluator
from searchspace import SearchSpace


class LinearModel:
    """0.1 ms, 10 µs an operator and 1 ms for 100 M MACs; 10 % standard deviation."""

    kind = "estimated"
    meta = {"kind": "estimated", "runtime": "none"}
    transferred_blocks = frozenset()

    def features(self, operators):
        return np.array([0.01 * len(operators), sum(o.macs for o in operators) / 1e8])

    def evaluate(self, features):
        mean = 0.1 + features.sum(1)
        return mean, 0.1 * mean

    def attribute(self, features):
        return features.sum(1)

    def mark(self, operators):
        return "estimated"


class SizeScore:
    """Log of parameters, minus a little for depth; less certain for deep networks."""

    name = "size"
    kind = "estimated"
    unit = "points"

    def score(self, architecture):
        width = sum(stage.width * stage.depth for stage in architecture.stages)
        kinds = len({b.type for stage in architecture.stages for b in stage.blocks})
        return Score(10 * math.log(width) + kinds, 0.1 * architecture.depth)


@pytest.fixture(scope="session")
def table():
    return DeviceTable("toy", LinearModel())


@pytest.fixture(scope="session")
def evaluator(table):
    return Evaluator(table, SizeScore(), 0.8)


@pytest.fixture(scope="session")
def tiny():
    return SearchSpace.load("tiny")
