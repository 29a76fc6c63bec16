"""Networks timed in turns, beside references that tell how fast the machine is at the moment.

A shared machine changes its speed within seconds: neighbours take caches, clocks change, other
programs take a core. So networks take short turns over a longer time, and two references take
theirs in between: a matrix product inside the cache, which follows the clock, and a network that
streams its weights, which follows the caches as well. Turns in which the operating system gave a
core to others, or next to which the product was slow, do not count.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from effsearch.latency.measure import Measurement
from effsearch.latency.runtime import random_feeds, session
from effsearch.latency.speed import Speed

try:
    import resource
except ImportError:  # not on Windows: there all runs count as left alone
    resource = None  # type: ignore[assignment]

PATIENCE = 3  # a turn makes at most so many times the runs it needs
MS_PER_BLIP = 10.0
SLOW = 1.10  # of the product, over its calm time
MIN_CALM_TURNS = 3
NETWORKS_PER_REFERENCE = 4
_SIDE = 256
_PRODUCTS = 4
_PROBE_RUNS = 3
_MAX_RUNS = 100


@dataclass(frozen=True)
class Turn:
    """Runs of one subject, one after another, the first left out.

    Attributes:
        times_ms: of each run.
        kept: whether the operating system left the cores to it.
    """

    times_ms: tuple[float, ...]
    kept: tuple[bool, ...]

    @property
    def median_ms(self) -> float:
        """Median over the runs kept; over all where none was."""
        kept = [ms for ms, good in zip(self.times_ms, self.kept, strict=True) if good]
        return float(np.median(kept or self.times_ms))

    @property
    def disturbed(self) -> bool:
        """Whether no run was left alone."""
        return not any(self.kept)


def preemptions() -> int:
    """Return how often this process has lost a core that it was still using."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw if resource else 0


def take_turn(run: Callable[[], object], seconds: float, min_runs: int = 2) -> Turn:
    """Return runs over some seconds, and until enough of them were left alone.

    Args:
        run: what is timed; runs once more before, to fill the caches.
        seconds: least length.
        min_runs: runs to be left alone; three times as many are tried.
    """
    run()
    times: list[float] = []
    kept: list[bool] = []
    end = time.perf_counter() + seconds
    while len(times) < _MAX_RUNS:
        before = preemptions()
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        times.append((now - start) * 1e3)
        # A program that computes takes a core every few ms; a blip now and then costs nothing.
        kept.append(preemptions() - before <= int(times[-1] / MS_PER_BLIP))
        enough = sum(kept) >= min_runs or len(times) >= PATIENCE * min_runs
        if enough and now >= end:
            break
    return Turn(tuple(times), tuple(kept))


class Subject:
    """Something timed in turns.

    Args:
        run: one run.
        rounds: how often it takes its turn.
        seconds: least length of a turn.
        min_runs: of a turn.
    """

    def __init__(
        self, run: Callable[[], object], rounds: int, seconds: float, min_runs: int = 2
    ) -> None:
        self.run, self.rounds, self.seconds, self.min_runs = run, rounds, seconds, min_runs
        self.turns: list[Turn] = []
        self.products: list[tuple[float, float]] = []

    def take(self) -> None:
        """Take a turn."""
        self.turns.append(take_turn(self.run, self.seconds, self.min_runs))


class Pace:
    """The two references, ready to run.

    Args:
        reference: the reference network's file.
        threads: of one operator.
    """

    def __init__(self, reference: Path | bytes, threads: int) -> None:
        self._network = Subject(runner(reference, threads), 0, 0.0, 3)
        self._product = runner(product_model(), threads)
        self.product()
        self.network()
        self._network.turns.clear()

    def product(self) -> float:
        """Return what the product takes now, in ms."""
        return take_turn(self._product, 0.0, _PROBE_RUNS).median_ms

    def network(self) -> None:
        """Give the reference network a turn."""
        self._network.take()

    def speed(self, products: Sequence[float]) -> tuple[Speed, float]:
        """Return the speed over all turns so far, and its relative standard error; start anew."""
        turns = [t.median_ms for t in self._network.turns if not t.disturbed]
        turns = turns or [t.median_ms for t in self._network.turns]
        self._network.turns = []
        return Speed(float(np.median(turns)), float(np.median(products))), median_error(turns)


def runner(model: Path | bytes, threads: int) -> Callable[[], object]:
    """Return a run of a model whose threads rest in between."""
    opened = session(model, threads, rests=True)
    return partial(opened.run, [opened.get_outputs()[0].name], random_feeds(opened))


def product_model() -> bytes:
    """Return a model of products whose one weight stays in the core's own cache."""
    weight = np.random.default_rng(0).standard_normal((_SIDE, _SIDE)).astype(np.float32) / 16
    names = ["x", *(f"v{i}" for i in range(_PRODUCTS - 1)), "y"]
    tensor = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", [a, "w"], [b]) for a, b in pairwise(names)],
        "product",
        [tensor("x", TensorProto.FLOAT, [_SIDE, _SIDE])],
        [tensor("y", TensorProto.FLOAT, [_SIDE, _SIDE])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = [helper.make_opsetid("", 20)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=9).SerializeToString())


def take_turns(subjects: Sequence[Subject], pace: Pace) -> tuple[Speed, float]:
    """Give all subjects their turns; return the machine's speed and its relative standard error.

    Those with fewer rounds than others sit some out, evenly.
    """
    rounds = max(s.rounds for s in subjects)
    products: list[float] = []
    for number in range(rounds):
        taken = 0
        for subject in subjects:
            due = (number + 1) * subject.rounds // rounds - number * subject.rounds // rounds
            if not due:
                continue
            if taken % NETWORKS_PER_REFERENCE == 0:
                pace.network()
            taken += 1
            before = pace.product()
            subject.take()
            after = pace.product()
            subject.products.append((before, after))
            products += [before, after]
    limit = SLOW * float(np.quantile(products, 0.25))
    return pace.speed([p for p in products if p <= limit])


def calm_turns(subjects: Sequence[Subject]) -> list[list[bool]]:
    """Return which turns of each count: left alone, and the product was not slow around them."""
    products = [p for s in subjects for pair in s.products for p in pair]
    limit = SLOW * float(np.quantile(products, 0.25))
    return [
        [
            not turn.disturbed and max(pair) <= limit
            for turn, pair in zip(s.turns, s.products, strict=True)
        ]
        for s in subjects
    ]


def median_error(values: Sequence[float]) -> float:
    """Return the relative standard error of a median, from the values' quartiles."""
    lower, middle, upper = np.quantile(values, [0.25, 0.5, 0.75])
    # The median of normal values errs by 1.25 deviations over the root of their number.
    return float(1.25 * (upper - lower) / 1.349 / middle / np.sqrt(len(values)))


def summarise(subject: Subject, calm: Sequence[bool], threads: int, limit: float) -> Measurement:
    """Return the median over calm turns; its spread is that median's relative standard error.

    Args:
        subject: what took turns.
        calm: which of them count.
        threads: of one operator.
        limit: highest spread of a measurement that is not noisy.
    """
    turns = [t for t, good in zip(subject.turns, calm, strict=True) if good] or subject.turns
    medians = [t.median_ms for t in turns]
    values = [ms for t in turns for ms, good in zip(t.times_ms, t.kept, strict=True) if good]
    values = values or [ms for t in turns for ms in t.times_ms]
    low, high = (float(q) for q in np.quantile(values, [0.1, 0.9]))
    error = median_error(medians)
    noisy = error > limit or sum(calm) < MIN_CALM_TURNS
    return Measurement(float(np.median(medians)), len(values), threads, error, low, high, noisy)
